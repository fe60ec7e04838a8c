//! What becomes of frames that somebody asks about: the same for the running box and for one that is only thought of.

use super::params;
use super::rpc::{Frames, Kind, Question, RpcError};
use crate::model::{LinkIndex, Way};
use crate::text::{did_you_mean, plain};
use crate::vm::connection::ConnectionError;
use crate::vm::explanation::Explanation;
use crate::vm::registry::Registry;

/// What the parameters of `explain` ask.
///
/// # Errors
/// Nothing that can be answered.
pub fn question(params: &str) -> Result<Question, RpcError> {
    params::question(params)
}

/// One explanation of each frame.
///
/// # Errors
/// There is no such link, VM or frame.
pub fn answer(registry: &Registry, question: &Question) -> Result<Vec<Explanation>, RpcError> {
    let Question { link, direction, about } = question;
    let way = Way { link: find(registry, link.as_deref())?, direction: *direction };
    let explain = |frame: &Vec<u8>| Explanation::of(registry, way, frame);
    match about {
        Frames::Bytes(frames) => Ok(frames.iter().map(explain).collect()),
        Frames::Connection(connection) => {
            let frame = connection.frame(registry, *direction).map_err(|error| {
                let kind = if matches!(error, ConnectionError::NoVm(_)) { Kind::NotFound } else { Kind::InvalidParams };
                RpcError::new(kind, error.to_string())
            })?;
            Ok(vec![explain(&frame)])
        }
    }
}

fn find(registry: &Registry, name: Option<&str>) -> Result<LinkIndex, RpcError> {
    let Some(name) = name else { return Ok(LinkIndex(0)) };
    let links = &registry.settings().links;
    links.iter().position(|link| link == name).map(LinkIndex).ok_or_else(|| {
        let nearest = did_you_mean(name, links.iter().map(String::as_str));
        let message = format!("there is no link `{}`; there are: {}{nearest}", plain(name, 64), links.join(", "));
        RpcError::new(Kind::NotFound, message).with("path", "link")
    })
}
