mod bad;
mod changes;
mod good;
