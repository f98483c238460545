mod cells;
mod properties;
mod rig;
mod tables;
mod threads;
