//! Any bytes between nodes: cut into frames wherever the network cuts them, and read as what each kind of stream carries.

use synod_types::frame::FrameReader;
use synod_types::session::{ControlFrame, Hello};
use synod_types::{ContentMessage, LogPage, Message, wire};

/// Frames in the input are no longer.
const FRAME_BYTES_MAX: usize = 1 << 16;

pub fn check(input: &[u8]) {
    let whole = frames(input, input.len().max(1));
    for piece in [1, 3, 64] {
        assert_eq!(frames(input, piece), whole, "frames do not depend on how they come");
    }
    for frame in whole.unwrap_or_default().iter().map(|frame| &frame[..]).chain([input]) {
        if let Ok(message) = wire::decode::<Message>(frame) {
            let _commands = message.commands();
            assert_eq!(wire::decode(&wire::encode(&message)), Ok(message));
        }
        let _others = (
            wire::decode::<Hello>(frame),
            wire::decode::<ControlFrame>(frame),
            wire::decode::<ContentMessage>(frame),
            LogPage::decode(frame),
        );
    }
}

/// The frames in what comes in pieces; `None`: one of them is too large.
fn frames(input: &[u8], piece: usize) -> Option<Vec<Vec<u8>>> {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for piece in input.chunks(piece) {
        reader.push(piece);
        while let Some(frame) = reader.next_frame().ok()? {
            frames.push(frame.to_vec());
        }
    }
    Some(frames)
}
