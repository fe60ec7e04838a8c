//! A box that is only thought of, and captures of what it is asked about.

use std::path::Path;

use super::vms::{self, BadLines};
use crate::capture::{self, End};
use crate::config::Config;
use crate::failure::{Cause, Failure};
use crate::model::Moment;
use crate::vm::clock::Clock;
use crate::vm::registry::Registry;

/// A registry that knows what a configuration and VM lines say, at a moment; now unless said.
///
/// # Errors
/// One of them cannot be.
pub fn imagine(config: Option<&Path>, vms: Option<&Path>, at: Option<Moment>) -> Result<Registry, Failure> {
    let config = config.map_or_else(|| Ok(Config::default()), Config::load)?;
    let settings = config.policy().map_err(|error| Failure::new(Cause::Configuration, error))?;
    let vms = vms.map(|path| vms::read(path, &config, &settings, BadLines::Refuse, &mut Vec::new())).transpose()?;
    // Time stands still.
    let (steady, _) = quanta::Clock::mock();
    let at = at.unwrap_or_else(|| Clock::default().now());
    let (mut registry, _) = vms::create(&config, &settings, 0, Clock::at(at, steady))?;
    vms.map_or(Ok(()), |vms| vms.load(&mut registry))?;
    Ok(registry)
}

/// What a capture holds, from the first frame on, until `visit` answers `false`. What should be known of it.
///
/// # Errors
/// It cannot be read; what came before was visited.
pub fn frames(path: &Path, mut visit: impl FnMut(&[u8]) -> bool) -> Result<Vec<String>, Failure> {
    let mut cut = 0_u64;
    let end = capture::read(path, |captured| {
        cut += u64::from((captured.bytes.len() as u64) < captured.wire_bytes);
        visit(captured.bytes)
    })?;
    let mut warnings = Vec::new();
    if end == End::CutOff {
        warnings.push(format!("{}: cut off, or still being written; what is whole is explained", path.display()));
    }
    if cut > 0 {
        let path = path.display();
        warnings
            .push(format!("{path}: {cut} frames were cut by the capture's snap length, and are explained as they are"));
    }
    Ok(warnings)
}
