//! Continuous traffic loses nothing, whatever becomes of the agent: it is killed at any moment and at every step of its
//! work, started again, upgraded to a build with another layout, downgraded.

mod control;
mod crash_points;
mod crashes_in_life;
mod events;
mod services;
mod table;
mod traffic;
