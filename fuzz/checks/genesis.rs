//! Any bytes as a genesis document: one that is taken has one id, and is itself when it is written again.

use synod_auth::Genesis;

pub fn check(input: &[u8]) {
    let Ok((genesis, _)) = Genesis::parse(input) else { return };
    let (again, id) = Genesis::parse(&genesis.to_bytes()).expect("it was taken");
    assert_eq!(again.to_bytes(), genesis.to_bytes());
    assert_eq!(Genesis::parse(&again.to_bytes()).expect("it was taken twice").1, id);
}
