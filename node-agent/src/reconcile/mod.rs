//! What differs between what is wanted and what is there, and the changes that make it even.

mod datapath_plan;

pub use datapath_plan::{
    AttachmentPoint, AttachmentState, DatapathPlan, Exhausted, MapChange, ObservedDatapath, PlanOptions, plan,
};
