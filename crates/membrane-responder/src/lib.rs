//! Who answers a message.
