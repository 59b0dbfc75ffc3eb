//! A front end in a process of its own: prints all counters, and again whenever they have changed.
//!
//! ```text
//! cargo run -p synod-sdk --example show -- data-node1/lanes/front-ends.sock
//! ```

use std::path::PathBuf;
use std::time::Duration;

use synod_sdk::Encoding;
use synod_sdk::front::{FrontEnd, Read};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let socket = PathBuf::from(std::env::args_os().nth(1).ok_or("give the socket's path")?);
    let connect = || FrontEnd::connect(&socket, "show", Encoding::MessagePack, Duration::from_secs(30));
    let mut asking = connect()?;
    let mut print = |min: u64| -> Result<u64, Box<dyn std::error::Error>> {
        let answered = asking.query("counter", "*", Read { min: Some(min), ..Read::default() })?;
        println!("state {}:\n{}", answered.state_ndx, String::from_utf8_lossy(&answered.answer));
        Ok(answered.state_ndx)
    };
    let first = print(0)?;
    for state_ndx in connect()?.follow("counter", first)? {
        print(state_ndx?)?;
    }
    Ok(())
}
