//! What one machine has to do under a topology.
