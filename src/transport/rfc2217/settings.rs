//! Line settings in pyserial's words and in those of RFC 2217, and what a server refused of them.

use rfc2217::{Client, DataBits, FlowControl, PartialSettings, PortSettings, Setting, StopBits as Stop};

use crate::error::{OpenError, OpenKind};
use crate::transport::control::Change;
use crate::transport::serial::{Parity, SerialSettings, StopBits};

/// Whether the protocol has words for `settings`.
///
/// *Errors*: `Unsupported`, with the setting.
pub fn check(settings: &SerialSettings) -> Result<(), OpenError> {
    port_settings(settings).map(|_| ()).map_err(|why| OpenError::new(OpenKind::Unsupported, why))
}

pub(super) fn port_settings(settings: &SerialSettings) -> Result<PortSettings, String> {
    changed(PortSettings::default(), &Change::to(settings))
}

/// `before` with `change`; or why there is no such thing.
pub(super) fn changed(before: PortSettings, change: &Change) -> Result<PortSettings, String> {
    let mut after = before;
    if let Some(baudrate) = change.baudrate {
        if baudrate == 0 {
            return Err("baudrate: 0 is no speed".to_owned());
        }
        after.baud_rate = baudrate;
    }
    if let Some(bytesize) = change.bytesize {
        after.data_bits = match bytesize {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            8 => DataBits::Eight,
            other => return Err(format!("bytesize: it is 5, 6, 7 or 8, not {other}")),
        };
    }
    if let Some(parity) = change.parity {
        after.parity = match parity {
            Parity::None => rfc2217::Parity::None,
            Parity::Even => rfc2217::Parity::Even,
            Parity::Odd => rfc2217::Parity::Odd,
            Parity::Mark => rfc2217::Parity::Mark,
            Parity::Space => rfc2217::Parity::Space,
        };
    }
    if let Some(stopbits) = change.stopbits {
        after.stop_bits = match stopbits {
            StopBits::One => Stop::One,
            StopBits::OnePointFive => Stop::OnePointFive,
            StopBits::Two => Stop::Two,
        };
    }
    let is = |flow: FlowControl| before.flow_control == flow;
    let wanted = [
        (change.xonxoff.unwrap_or_else(|| is(FlowControl::XonXoff)), FlowControl::XonXoff),
        (change.rtscts.unwrap_or_else(|| is(FlowControl::RtsCts)), FlowControl::RtsCts),
        (change.dsrdtr.unwrap_or_else(|| is(FlowControl::Dsr)), FlowControl::Dsr),
    ];
    let mut wanted = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flow)| flow);
    let flow = wanted.next();
    if wanted.next().is_some() {
        return Err("xonxoff, rtscts, dsrdtr: RFC 2217 has one flow control at a time".to_owned());
    }
    after.flow_control = match flow {
        Some(flow) => flow,
        // A server that holds the line by a way of its own is left alone.
        None if is(FlowControl::Dcd) => FlowControl::Dcd,
        None => FlowControl::None,
    };
    Ok(after)
}

/// What the server has set otherwise than it was asked, a sentence each.
pub(super) fn refusals(client: &Client) -> Vec<String> {
    let (asked, given) = (all_of(client.requested_settings()), client.reported_settings());
    let sentence = |setting| match shown(&given, setting) {
        Some(given) => {
            format!("{}: asked for {}, the server has {given}", name(setting), or_none(shown(&asked, setting)))
        }
        None => format!(
            "{}: asked for {}, the server's answer is unreadable",
            name(setting),
            or_none(shown(&asked, setting))
        ),
    };
    client.mismatched_settings().iter().map(sentence).collect()
}

/// What the server has not answered, a sentence each.
pub(super) fn unanswered(client: &Client) -> Vec<String> {
    let asked = all_of(client.requested_settings());
    let sentence =
        |setting| format!("{}: the server did not confirm {}", name(setting), or_none(shown(&asked, setting)));
    client.pending_settings().iter().map(sentence).collect()
}

const fn name(setting: Setting) -> &'static str {
    match setting {
        Setting::BaudRate => "baudrate",
        Setting::DataBits => "bytesize",
        Setting::Parity => "parity",
        Setting::StopBits => "stopbits",
        Setting::FlowControl => "flow control",
    }
}

const fn all_of(settings: PortSettings) -> PartialSettings {
    PartialSettings {
        baud_rate: Some(settings.baud_rate),
        data_bits: Some(settings.data_bits),
        parity: Some(settings.parity),
        stop_bits: Some(settings.stop_bits),
        flow_control: Some(settings.flow_control),
    }
}

fn or_none(shown: Option<String>) -> String {
    shown.unwrap_or_else(|| "nothing".to_owned())
}

/// As pyserial writes it.
fn shown(settings: &PartialSettings, setting: Setting) -> Option<String> {
    let word = match setting {
        Setting::BaudRate => return settings.baud_rate.map(|rate| rate.to_string()),
        Setting::DataBits => match settings.data_bits? {
            DataBits::Five => "5",
            DataBits::Six => "6",
            DataBits::Seven => "7",
            DataBits::Eight => "8",
        },
        Setting::Parity => match settings.parity? {
            rfc2217::Parity::None => "N",
            rfc2217::Parity::Even => "E",
            rfc2217::Parity::Odd => "O",
            rfc2217::Parity::Mark => "M",
            rfc2217::Parity::Space => "S",
        },
        Setting::StopBits => match settings.stop_bits? {
            Stop::One => "1",
            Stop::OnePointFive => "1.5",
            Stop::Two => "2",
        },
        Setting::FlowControl => match settings.flow_control? {
            FlowControl::None => "none",
            FlowControl::XonXoff => "xonxoff",
            FlowControl::RtsCts => "rtscts",
            FlowControl::Dsr => "dsrdtr",
            FlowControl::Dcd => "carrier detect",
        },
    };
    Some(word.to_owned())
}
