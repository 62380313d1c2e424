//! The simulated devices that ship with labtether, in conversation, in virtual time: when a peel takes 12.5 s, it is
//! 12501 ms from the command to the end, and not one more.

#![cfg(test)]

mod devices {
    pub(crate) mod host;

    mod arm;
    mod balance;
    mod choosing;
    mod incubator;
    mod lids;
    mod peeler;
    mod spinning;
}
