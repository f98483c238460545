//! From what is wanted and what is observed to the changes between them.

mod host_plan;

pub use host_plan::{HostConflict, HostPlan, plan as plan_host};
