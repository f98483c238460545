//! What differs between what is wanted and what is there, and the changes that make it even.

mod brake;
mod datapath_plan;
mod driver;
mod host_plan;
mod object;
mod shortcut;

pub use brake::{Brake, BrakeNote, Hold, Release, SavedHold};
pub use datapath_plan::{
    AttachmentPoint, AttachmentState, MapChange, ObservedDatapath, PlanOptions, plan as plan_datapath,
};
pub use driver::{Pass, PassNotes, Reconciler, Report};
pub use host_plan::plan as plan_host;
