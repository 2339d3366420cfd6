//! The endpoint as a whole, against replicas played by the test.

mod hostile;
mod links;
mod ordered;
mod outcomes;
mod reads;
mod sessions;
mod subscriptions;
