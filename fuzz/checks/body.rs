//! Any bytes as what is posted to the commanders' port in JSON.

use synod_types::wire;

pub fn check(input: &[u8]) {
    if let Ok(command) = synod_backend::command_from_json(input) {
        assert_eq!(wire::decode(&wire::encode(&command)), Ok(command));
    }
}
