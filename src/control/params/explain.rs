//! `explain`: frames in hexadecimal, or a connection.

use std::borrow::Cow;

use serde::Deserialize;

use super::members::{Nothing, Params, read};
use crate::control::rpc::{EXPLAIN_MAX, Frames, Kind, Question, RpcError};
use crate::model::Direction;
use crate::text::{plain, unhex};
use crate::vm::connection::Connection;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explain<'a> {
    #[serde(default)]
    link: Option<String>,
    #[serde(default)]
    side: Side,
    #[serde(default, borrow)]
    frame: Option<Cow<'a, str>>,
    #[serde(default)]
    frames: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    connection: Option<Connection>,
}

/// The port that frames come in by.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    #[default]
    Inside,
    Outside,
}

pub(in crate::control) fn question(params: &str) -> Result<Question, RpcError> {
    let Params { extra: Nothing, own: Explain { link, side, frame, frames, connection } } = read(params)?;
    let direction = match side {
        Side::Inside => Direction::Egress,
        Side::Outside => Direction::Ingress,
    };
    let about = match (frame, frames, connection) {
        (Some(frame), None, None) => Frames::Bytes(vec![bytes("frame", &frame)?]),
        (None, Some(frames), None) => {
            if frames.is_empty() || frames.len() > EXPLAIN_MAX {
                let message = format!("frames: 1 to {EXPLAIN_MAX} are possible, not {}", frames.len());
                return Err(RpcError::new(Kind::InvalidParams, message).with("path", "frames"));
            }
            let read = |(at, frame): (usize, &Cow<'_, str>)| bytes(&format!("frames[{at}]"), frame);
            Frames::Bytes(frames.iter().enumerate().map(read).collect::<Result<_, _>>()?)
        }
        (None, None, Some(connection)) => Frames::Connection(Box::new(connection)),
        _ => {
            let message = "params: one of `frame`, `frames` and `connection` is needed";
            return Err(RpcError::new(Kind::InvalidParams, message));
        }
    };
    Ok(Question { link, direction, about })
}

/// Bytes from hexadecimal digits, with or without blanks and colons between them.
fn bytes(path: &str, text: &str) -> Result<Vec<u8>, RpcError> {
    let digits: String = text.chars().filter(|c| !" :\n\t".contains(*c)).collect();
    unhex(&digits).ok_or_else(|| {
        let message = format!("{path}: `{}` is no frame in hexadecimal digits, two a byte", plain(text, 40));
        RpcError::new(Kind::InvalidParams, message).with("path", path)
    })
}
