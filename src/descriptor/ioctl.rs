//! What is asked of a terminal's driver in the system's own numbers and structures: modem lines, break, low latency, RS-485. Each is one
//! system call; what it means is decided in `transport/serial`.

use std::os::fd::AsFd;

use libc::{
    TIOCCBRK, TIOCM_CAR, TIOCM_CTS, TIOCM_DSR, TIOCM_DTR, TIOCM_RI, TIOCM_RTS, TIOCMBIC, TIOCMBIS, TIOCMGET, TIOCSBRK,
};
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Opcode, Setter, ioctl};

/// The modem lines, inputs and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are those of the lines")]
pub enum Line {
    Cts,
    Dsr,
    Ri,
    Cd,
    Dtr,
    Rts,
}

impl Line {
    const fn bit(self) -> libc::c_int {
        match self {
            Line::Cts => TIOCM_CTS,
            Line::Dsr => TIOCM_DSR,
            Line::Ri => TIOCM_RI,
            Line::Cd => TIOCM_CAR,
            Line::Dtr => TIOCM_DTR,
            Line::Rts => TIOCM_RTS,
        }
    }
}

/// The levels of all modem lines at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels(libc::c_int);

impl Levels {
    /// Whether `line` is on.
    pub const fn of(self, line: Line) -> bool {
        self.0 & line.bit() != 0
    }
}

/// What the modem lines say.
pub fn levels(port: impl AsFd) -> Result<Levels, Errno> {
    // SAFETY: the system fills one int.
    unsafe { ioctl(port, Getter::<{ TIOCMGET as Opcode }, libc::c_int>::new()) }.map(Levels)
}

/// Sets one of our own lines and leaves the others.
pub fn set_level(port: impl AsFd, line: Line, on: bool) -> Result<(), Errno> {
    if on {
        // SAFETY: the system reads one int.
        unsafe { ioctl(port, Setter::<{ TIOCMBIS as Opcode }, libc::c_int>::new(line.bit())) }
    } else {
        // SAFETY: as above.
        unsafe { ioctl(port, Setter::<{ TIOCMBIC as Opcode }, libc::c_int>::new(line.bit())) }
    }
}

/// Begins to hold the line in break, or lets it go. To begin waits for pending output, however long that is held up.
pub fn set_break(port: impl AsFd, on: bool) -> Result<(), Errno> {
    if on {
        // SAFETY: it takes no argument.
        unsafe { ioctl(port, NoArg::<{ TIOCSBRK as Opcode }>::new()) }
    } else {
        // SAFETY: as above.
        unsafe { ioctl(port, NoArg::<{ TIOCCBRK as Opcode }>::new()) }
    }
}

/// A line that two wires share: who talks moves RTS. As the driver has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rs485 {
    /// RTS while something is sent.
    pub rts_on_send: bool,
    /// RTS otherwise.
    pub rts_after_send: bool,
    /// Milliseconds between moving RTS and the first bit.
    pub before_send: u32,
    /// Milliseconds between the last bit and moving RTS back.
    pub after_send: u32,
    /// What is sent is heard too.
    pub loopback: bool,
}

pub use driver::{set_low_latency, set_rs485};

#[cfg(target_os = "linux")]
mod driver {
    use std::os::fd::AsFd;

    use libc::{TIOCGSERIAL, TIOCSRS485, TIOCSSERIAL};
    use rustix::io::Errno;
    use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl};

    use super::Rs485;

    /// `struct serial_struct` of linux/serial.h. Pointers are numbers here: they are only carried back.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct SerialStruct {
        kind_line_port_irq: [libc::c_int; 4],
        flags: libc::c_int,
        fifo_divisor_base: [libc::c_int; 3],
        close_delay: libc::c_ushort,
        io_type: [libc::c_char; 2],
        hub6: libc::c_int,
        closing_wait: [libc::c_ushort; 2],
        iomem_base: usize,
        iomem_reg_shift: libc::c_ushort,
        port_high: libc::c_uint,
        iomap_base: libc::c_ulong,
    }

    /// linux/tty_flags.h: what has come is handed over at once, not when there is more of it.
    const ASYNC_LOW_LATENCY: libc::c_int = 1 << 13;

    fn serial_struct(port: impl AsFd) -> Result<SerialStruct, Errno> {
        // SAFETY: the system fills that structure, and every pattern of bits is one of its values.
        unsafe { ioctl(port, Getter::<{ TIOCGSERIAL as Opcode }, SerialStruct>::new()) }
    }

    /// Asks the driver to hand over what has come at once. Returns whether it will: many take the question and do nothing.
    pub fn set_low_latency(port: impl AsFd) -> Result<bool, Errno> {
        let mut settings = serial_struct(&port)?;
        if settings.flags & ASYNC_LOW_LATENCY == 0 {
            settings.flags |= ASYNC_LOW_LATENCY;
            // SAFETY: the system reads that structure.
            unsafe { ioctl(&port, Setter::<{ TIOCSSERIAL as Opcode }, SerialStruct>::new(settings)) }?;
        }
        Ok(serial_struct(&port)?.flags & ASYNC_LOW_LATENCY != 0)
    }

    /// `struct serial_rs485` of linux/serial.h.
    #[repr(C)]
    struct SerialRs485 {
        flags: u32,
        delay_rts_before_send: u32,
        delay_rts_after_send: u32,
        rest: [u32; 5],
    }

    const ENABLED: u32 = 1;
    const RTS_ON_SEND: u32 = 1 << 1;
    const RTS_AFTER_SEND: u32 = 1 << 2;
    const RX_DURING_TX: u32 = 1 << 4;

    impl From<Rs485> for SerialRs485 {
        fn from(wanted: Rs485) -> SerialRs485 {
            let flag = |on: bool, bit: u32| if on { bit } else { 0 };
            SerialRs485 {
                flags: ENABLED
                    | flag(wanted.rts_on_send, RTS_ON_SEND)
                    | flag(wanted.rts_after_send, RTS_AFTER_SEND)
                    | flag(wanted.loopback, RX_DURING_TX),
                delay_rts_before_send: wanted.before_send,
                delay_rts_after_send: wanted.after_send,
                rest: [0; 5],
            }
        }
    }

    /// Asks the driver to move RTS. Returns what it will do: it takes what it can, and leaves out the rest. `None`: nothing of it.
    pub fn set_rs485(port: impl AsFd, wanted: Rs485) -> Result<Option<Rs485>, Errno> {
        let mut settings = SerialRs485::from(wanted);
        // SAFETY: the system reads that structure and writes what it made of it, and every pattern of bits is one of its values.
        unsafe { ioctl(port, Updater::<{ TIOCSRS485 as Opcode }, SerialRs485>::new(&mut settings)) }?;
        let has = |bit: u32| settings.flags & bit != 0;
        Ok(has(ENABLED).then(|| Rs485 {
            rts_on_send: has(RTS_ON_SEND),
            rts_after_send: has(RTS_AFTER_SEND),
            before_send: settings.delay_rts_before_send,
            after_send: settings.delay_rts_after_send,
            loopback: has(RX_DURING_TX),
        }))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        // linux/serial.h, on 64 bits: no driver is here to notice a wrong layout.
        #[test]
        fn the_structures_are_the_systems() {
            assert_eq!(size_of::<SerialRs485>(), 32);
            if cfg!(target_pointer_width = "64") {
                assert_eq!(size_of::<SerialStruct>(), 72);
                assert_eq!(std::mem::offset_of!(SerialStruct, iomem_base), 48);
            }
            assert_eq!(std::mem::offset_of!(SerialStruct, flags), 16);
            assert_eq!(std::mem::offset_of!(SerialStruct, close_delay), 32);
        }

        #[test]
        fn each_wish_has_its_bit() {
            let wish =
                Rs485 { rts_on_send: true, rts_after_send: false, before_send: 2, after_send: 3, loopback: true };
            let told = SerialRs485::from(wish);
            assert_eq!((told.flags, told.delay_rts_before_send, told.delay_rts_after_send), (0b10011, 2, 3));
            let other = Rs485 { rts_on_send: false, rts_after_send: true, loopback: false, ..wish };
            assert_eq!(SerialRs485::from(other).flags, 0b00101);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod driver {
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    use super::Rs485;

    /// Only Linux has this.
    pub fn set_low_latency(_port: impl AsFd) -> Result<bool, Errno> {
        Err(Errno::NOTTY)
    }

    /// Only Linux has this.
    pub fn set_rs485(_port: impl AsFd, _wanted: Rs485) -> Result<Option<Rs485>, Errno> {
        Err(Errno::NOTTY)
    }
}
