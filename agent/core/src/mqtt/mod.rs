//! MQTT 3.1, 3.1.1 and 5 on the wire: packets that borrow from the bytes they came in.

pub mod packet;
