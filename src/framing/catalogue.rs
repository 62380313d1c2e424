//! CRCs by their names in the catalogue of parametrised CRC algorithms (reveng.sourceforge.io/crc-catalogue), as the crate `crc` has it.

use std::fmt;
use std::sync::Arc;

/// A CRC of the catalogue.
#[derive(Clone)]
pub struct Crc {
    name: String,
    bits: u8,
    reflected: bool,
    check: u128,
    table: Arc<Table>,
}

enum Table {
    U8(Box<crc::Crc<u8>>),
    U16(Box<crc::Crc<u16>>),
    U32(Box<crc::Crc<u32>>),
    U64(Box<crc::Crc<u64>>),
    U128(Box<crc::Crc<u128>>),
}

macro_rules! catalogue {
    ($($variant:ident $width:ident: $($name:ident)*;)*) => {
        /// As the constants are called: `CRC_16_MODBUS`.
        const NAMES: &[&str] = &[$($(stringify!($name)),*),*];

        fn find(constant: &str) -> Option<Crc> {
            match constant {
                $($(stringify!($name) => {
                    let crc::Algorithm { width, refout, check, .. } = crc::$name;
                    let table = Arc::new(Table::$variant(crc::Crc::<$width>::new(&crc::$name).into()));
                    Some(Crc { name: spelt(constant), bits: width, reflected: refout, check: check.into(), table })
                })*)*
                _ => None,
            }
        }
    };
}

catalogue! {
    U8 u8:
        CRC_3_GSM CRC_3_ROHC CRC_4_G_704 CRC_4_INTERLAKEN CRC_5_EPC_C1G2 CRC_5_G_704 CRC_5_USB CRC_6_CDMA2000_A
        CRC_6_CDMA2000_B CRC_6_DARC CRC_6_GSM CRC_6_G_704 CRC_7_MMC CRC_7_ROHC CRC_7_UMTS CRC_8_AUTOSAR CRC_8_BLUETOOTH
        CRC_8_CDMA2000 CRC_8_DARC CRC_8_DVB_S2 CRC_8_GSM_A CRC_8_GSM_B CRC_8_HITAG CRC_8_I_432_1 CRC_8_I_CODE CRC_8_LTE
        CRC_8_MAXIM_DOW CRC_8_MIFARE_MAD CRC_8_NRSC_5 CRC_8_OPENSAFETY CRC_8_ROHC CRC_8_SAE_J1850 CRC_8_SMBUS
        CRC_8_TECH_3250 CRC_8_WCDMA;
    U16 u16:
        CRC_10_ATM CRC_10_CDMA2000 CRC_10_GSM CRC_11_FLEXRAY CRC_11_UMTS CRC_12_CDMA2000 CRC_12_DECT CRC_12_GSM
        CRC_12_UMTS CRC_13_BBC CRC_14_DARC CRC_14_GSM CRC_15_CAN CRC_15_MPT1327 CRC_16_ARC CRC_16_CDMA2000 CRC_16_CMS
        CRC_16_DDS_110 CRC_16_DECT_R CRC_16_DECT_X CRC_16_DNP CRC_16_EN_13757 CRC_16_GENIBUS CRC_16_GSM CRC_16_IBM_3740
        CRC_16_IBM_SDLC CRC_16_ISO_IEC_14443_3_A CRC_16_KERMIT CRC_16_LJ1200 CRC_16_M17 CRC_16_MAXIM_DOW CRC_16_MCRF4XX
        CRC_16_MODBUS CRC_16_NRSC_5 CRC_16_OPENSAFETY_A CRC_16_OPENSAFETY_B CRC_16_PROFIBUS CRC_16_RIELLO
        CRC_16_SPI_FUJITSU CRC_16_T10_DIF CRC_16_TELEDISK CRC_16_TMS37157 CRC_16_UMTS CRC_16_USB CRC_16_XMODEM;
    U32 u32:
        CRC_17_CAN_FD CRC_21_CAN_FD CRC_24_BLE CRC_24_FLEXRAY_A CRC_24_FLEXRAY_B CRC_24_INTERLAKEN CRC_24_LTE_A
        CRC_24_LTE_B CRC_24_OPENPGP CRC_24_OS_9 CRC_30_CDMA CRC_31_PHILIPS CRC_32_AIXM CRC_32_AUTOSAR CRC_32_BASE91_D
        CRC_32_BZIP2 CRC_32_CD_ROM_EDC CRC_32_CKSUM CRC_32_ISCSI CRC_32_ISO_HDLC CRC_32_JAMCRC CRC_32_MEF
        CRC_32_MPEG_2 CRC_32_XFER;
    U64 u64:
        CRC_40_GSM CRC_64_ECMA_182 CRC_64_GO_ISO CRC_64_MS CRC_64_NVME CRC_64_REDIS CRC_64_WE CRC_64_XZ;
    U128 u128:
        CRC_82_DARC;
}

/// "CRC-16/MODBUS", from the name of its constant.
fn spelt(constant: &str) -> String {
    match constant.trim_start_matches("CRC_").split_once('_') {
        Some((bits, name)) => format!("CRC-{bits}/{}", name.replace('_', "-")),
        None => constant.to_owned(),
    }
}

/// Every name of the catalogue, as it is spelt there.
pub fn names() -> Vec<String> {
    NAMES.iter().map(|constant| spelt(constant)).collect()
}

impl Crc {
    /// The one with this name; case, slashes and dashes do not matter.
    pub fn named(name: &str) -> Option<Crc> {
        let letters = |text: &str| -> String {
            let kept = text.chars().filter(char::is_ascii_alphanumeric);
            kept.map(|letter| letter.to_ascii_uppercase()).collect()
        };
        let wanted = letters(name);
        NAMES.iter().find(|constant| letters(constant) == wanted).and_then(|constant| find(constant))
    }

    /// As the catalogue spells it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bits its value has.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether its value comes out with the bits turned round: then its low byte is sent first.
    pub fn is_reflected(&self) -> bool {
        self.reflected
    }

    /// Its value for b"123456789", according to the catalogue.
    pub fn check(&self) -> u128 {
        self.check
    }

    /// Its value for `bytes`.
    pub fn of(&self, bytes: &[u8]) -> u128 {
        match &*self.table {
            Table::U8(table) => table.checksum(bytes).into(),
            Table::U16(table) => table.checksum(bytes).into(),
            Table::U32(table) => table.checksum(bytes).into(),
            Table::U64(table) => table.checksum(bytes).into(),
            Table::U128(table) => table.checksum(bytes),
        }
    }
}

impl fmt::Debug for Crc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Crc {
    fn eq(&self, other: &Crc) -> bool {
        self.name == other.name
    }
}

impl Eq for Crc {}
