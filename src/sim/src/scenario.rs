//! placeholder
/// x
pub fn check_file(_: &std::path::Path) -> Result<(), String> { Ok(()) }
