//! Audio files: reading WAV and FLAC, writing WAV.

use std::str::FromStr;

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bits {
    /// 16-bit integers.
    I16,
    /// 24-bit integers.
    I24,
    /// 32-bit floats: every sample bit for bit.
    #[default]
    F32,
}

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "16" => Ok(Self::I16),
            "24" => Ok(Self::I24),
            "32f" => Ok(Self::F32),
            _ => Err(format!("bits are {text}; they must be 16, 24 or 32f")),
        }
    }
}
