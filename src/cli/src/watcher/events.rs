//! Server-sent events as they come in pieces (WHATWG HTML, section 9.2), as far as nodes use them.

/// Events that are not complete yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// What has come and was not taken out.
    buffer: Vec<u8>,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct RawEvent {
    /// Its kind.
    pub(super) name: String,
    /// What it says.
    pub(super) data: String,
}

impl Events {
    /// A piece has come.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Takes out the next event that is complete.
    pub(super) fn next(&mut self) -> Option<RawEvent> {
        let end = self.buffer.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
        let mut event = RawEvent::default();
        for line in String::from_utf8_lossy(&block).lines() {
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => data.clone_into(&mut event.data),
                // The id is in the data, too; and how long to wait before one comes back is for browsers.
                _ => {}
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_they_are_cut() {
        let text = "retry: 1000\nevent: bookmark\nid: 3\ndata: {\"stateNdx\":3}\n\n\
                    event: change\nid: 4\ndata: {\"ä\": \"b: c\"}\n\nevent: half";
        for cut in 0..text.len() {
            let mut events = Events::default();
            let mut told = Vec::new();
            for piece in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                events.push(piece);
                while let Some(event) = events.next() {
                    told.push((event.name, event.data));
                }
            }
            let expected = [("bookmark", "{\"stateNdx\":3}"), ("change", "{\"ä\": \"b: c\"}")];
            assert_eq!(told, expected.map(|(name, data)| (name.to_owned(), data.to_owned())), "{cut}");
        }
    }
}
