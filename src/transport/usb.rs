//! USB devices by way of `nusb`: opening one, claiming an interface of it, and its bulk endpoints. Which device and which endpoints is
//! decided in `usb/choose.rs`; how they become a pipe, in `packets.rs`.
//!
//! nusb keeps one thread and one descriptor for the whole process, "nusb-events", from the first device that is opened until the process
//! ends: there it fetches what has completed, and calls wakers. Nothing of that is there before; listing devices starts nothing. What of
//! nusb blocks (listing, opening, claiming, clearing a halt, letting go) is called on threads of ours.

mod choose;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use nusb::descriptors::TransferType;
use nusb::transfer::{Buffer, Bulk as OfBulk, Completion, Direction, In, Out, TransferError};
use nusb::{DeviceInfo, Endpoint, ErrorKind, Interface, MaybeFuture, list_devices};
use tokio::sync::oneshot;

use super::packets::{Bulk, Done, Fault, Manner, Side, pipe};
use super::{Aside, Opened};
use crate::error::{OpenError, OpenKind};

pub use choose::{Device, EndpointInfo, Endpoints, Wanted, choose_endpoints, find_device, refusal};

/// How long a transfer that was taken back is waited for as the device is let go.
const PATIENCE: Duration = Duration::from_millis(500);

/// The devices there are. Blocks, for as long as the system takes to say.
///
/// A system without USB has none.
pub fn devices() -> Vec<Device> {
    all().iter().map(described).collect()
}

fn all() -> Vec<DeviceInfo> {
    list_devices().wait().map(Iterator::collect).unwrap_or_default()
}

fn described(device: &DeviceInfo) -> Device {
    Device {
        vid: device.vendor_id(),
        pid: device.product_id(),
        serial_number: device.serial_number().map(str::to_owned),
        name: [device.manufacturer_string(), device.product_string()]
            .into_iter()
            .flatten()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" "),
        place: format!("{}-{}", device.bus_id(), device.device_address()),
        number: device.bus_id().parse::<u64>().unwrap_or(u64::from(u32::MAX)) << 8 | u64::from(device.device_address()),
    }
}

/// Opens the only device that is `wanted`, and claims its interface; a driver of the system that has it is detached until it is let go.
/// Blocks. `aside` is for what blocks later.
///
/// *Errors*: all kinds but `Refused`; the text says what to do about it.
pub fn open_usb(wanted: &Wanted, endpoints: Endpoints, manner: Manner, aside: Aside) -> Result<Opened, OpenError> {
    let there = all();
    let listed: Vec<Device> = there.iter().map(described).collect();
    let place = find_device(wanted, &listed)?;
    let gone = || OpenError::new(OpenKind::Missing, "it was unplugged just now");
    let found = there.get(place).ok_or_else(gone)?;
    let failed = |error: &nusb::Error| refusal(wanted, kind(error.kind()), &error.to_string(), error.os_error());
    let device = found.open().wait().map_err(|error| failed(&error))?;
    let interface = device.detach_and_claim_interface(wanted.interface).wait().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let numbers: Vec<String> =
                found.interfaces().map(|interface| interface.interface_number().to_string()).collect();
            let why = format!("it has no interface {}; there are {}", wanted.interface, numbers.join(", "));
            OpenError::new(OpenKind::Unsupported, why)
        }
        _ => failed(&error),
    })?;
    let there: Vec<EndpointInfo> = interface
        .descriptor()
        .iter()
        .flat_map(nusb::descriptors::InterfaceDescriptor::endpoints)
        .map(|endpoint| EndpointInfo {
            address: endpoint.address(),
            reads: endpoint.direction() == Direction::In,
            bulk: endpoint.transfer_type() == TransferType::Bulk,
        })
        .collect();
    let (reading, writing) = choose_endpoints(endpoints, &there)?;
    let reading = interface.endpoint::<OfBulk, In>(reading).map_err(|error| failed(&error))?;
    let writing = interface.endpoint::<OfBulk, Out>(writing).map_err(|error| failed(&error))?;
    let port = wanted.to_string();
    let number = listed.get(place).map(|device| device.berth(wanted.interface));
    let bulk = Claimed { reading, writing, interface, clearing: [None, None], aside };
    Ok(Opened { pipe: pipe(Box::new(bulk), manner), port, device: number, notices: Vec::new() })
}

const fn kind(kind: ErrorKind) -> OpenKind {
    match kind {
        ErrorKind::Disconnected | ErrorKind::NotFound => OpenKind::Missing,
        ErrorKind::Busy => OpenKind::InUse,
        ErrorKind::PermissionDenied => OpenKind::Permission,
        _ => OpenKind::Unsupported,
    }
}

/// The endpoints of a claimed interface.
struct Claimed {
    reading: Endpoint<OfBulk, In>,
    writing: Endpoint<OfBulk, Out>,
    interface: Interface,
    /// What a thread will say that puts an endpoint in order.
    clearing: [Option<oneshot::Receiver<Result<(), Fault>>>; 2],
    aside: Aside,
}

impl Bulk for Claimed {
    fn packet_size(&self, side: Side) -> usize {
        match side {
            Side::Read => self.reading.max_packet_size(),
            Side::Write => self.writing.max_packet_size(),
        }
    }

    fn submit_read(&mut self, length: usize) {
        self.reading.submit(Buffer::new(length));
    }

    fn submit_write(&mut self, bytes: Vec<u8>) {
        self.writing.submit(bytes.into());
    }

    fn pending(&self, side: Side) -> usize {
        match side {
            Side::Read => self.reading.pending(),
            Side::Write => self.writing.pending(),
        }
    }

    fn poll_done(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<Done> {
        // nusb panics if it is asked for a transfer that is not there.
        if self.pending(side) == 0 {
            return Poll::Pending;
        }
        Poll::Ready(match side {
            Side::Read => {
                let done = ready!(self.reading.poll_next_complete(cx));
                let fault = fault(&done);
                Done { bytes: done.buffer.into_vec(), fault }
            }
            Side::Write => {
                let done = ready!(self.writing.poll_next_complete(cx));
                Done { bytes: Vec::new(), fault: fault(&done) }
            }
        })
    }

    fn cancel(&mut self, side: Side) {
        match side {
            Side::Read => self.reading.cancel_all(),
            Side::Write => self.writing.cancel_all(),
        }
    }

    fn poll_clear_halt(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let [reading, writing] = &mut self.clearing;
        let clearing = if side == Side::Read { reading } else { writing };
        let told = match clearing {
            Some(told) => told,
            None => {
                let (tell, told) = oneshot::channel();
                // A request to the device, which may take its time.
                let work: Box<dyn FnOnce() + Send> = match side {
                    Side::Read => in_order(self.reading.clear_halt(), tell),
                    Side::Write => in_order(self.writing.clear_halt(), tell),
                };
                if let Err(error) = (self.aside)(work) {
                    return Poll::Ready(Err(Fault::Failed(error.to_string())));
                }
                clearing.insert(told)
            }
        };
        let cleared = ready!(std::pin::Pin::new(told).poll(cx));
        *clearing = None;
        Poll::Ready(cleared.unwrap_or_else(|_| Err(Fault::Failed("clearing a halt panicked".to_owned()))))
    }

    fn close(mut self: Box<Self>) {
        self.reading.cancel_all();
        self.writing.cancel_all();
        // The interface is let go when the last transfer is; here, and not on nusb's own thread.
        while self.reading.pending() > 0 && self.reading.wait_next_complete(PATIENCE).is_some() {}
        while self.writing.pending() > 0 && self.writing.wait_next_complete(PATIENCE).is_some() {}
        let Claimed { reading, writing, interface, .. } = *self;
        drop((reading, writing));
        // It fails where something is still clearing a halt, and is then let go as that ends.
        let _ = interface.release().wait();
    }
}

fn in_order(
    clearing: impl MaybeFuture<Output = Result<(), nusb::Error>> + 'static,
    tell: oneshot::Sender<Result<(), Fault>>,
) -> Box<dyn FnOnce() + Send> {
    Box::new(move || {
        let cleared = clearing.wait().map_err(|error| match error.kind() {
            ErrorKind::Disconnected => Fault::Gone,
            _ => Fault::Failed(error.to_string()),
        });
        // Nobody there: the link was closed meanwhile.
        let _ = tell.send(cleared);
    })
}

fn fault(done: &Completion) -> Option<Fault> {
    match done.status {
        Ok(()) => None,
        Err(TransferError::Cancelled) => Some(Fault::Cancelled),
        Err(TransferError::Stall) => Some(Fault::Stalled),
        Err(TransferError::Disconnected) => Some(Fault::Gone),
        Err(error @ (TransferError::Fault | TransferError::InvalidArgument | TransferError::Unknown(_))) => {
            Some(Fault::Failed(error.to_string()))
        }
    }
}
