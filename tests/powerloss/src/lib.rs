//! Power loss, simulated: nodes are recorded call by call while clients keep them busy, and started again on what a disk
//! may have kept when the power went at some moment. What clients were told before has to be there.
//!
//! Nothing here is made up but the loss: the calls are those of the real program, the checks open the real journal and
//! store, and start the real program again. [`disk`] says what a disk may do; it is harsher than file systems are.
//!
//! Start reading at [`single`] and [`restart`], the two checks; then [`disk`] and [`file`](mod@file), the model.

pub mod cluster;
pub mod disk;
pub mod file;
pub mod held;
pub mod image;
pub mod load;
pub mod loss;
pub mod operation;
pub mod recorder;
pub mod recording;
pub mod restart;
pub mod run;
pub mod single;
pub mod timeline;
pub mod trace;
