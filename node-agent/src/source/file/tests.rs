mod bad;
mod bad_routes;
mod changes;
mod good;
