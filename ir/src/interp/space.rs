//! Ops of search spaces: a space whose parameters are all bound runs like the model that it specializes to.

use super::{Call, Datum, Entry, Fault};
use crate::bind;
use crate::graph::SPACE;

/// Kernels of this family.
pub(super) const KERNELS: &[Entry] = &[(SPACE, "Choice", choice), (SPACE, "Crop", crop)];

fn choice(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let label = bind::picked(&call.graph.space, call.op()).map_err(|why| why.to_string())?;
    call.run_region(call.region(&label)?, Vec::new())
}

fn crop(call: &Call<'_>) -> Result<Vec<Datum>, Fault> {
    let cropped = bind::crop(&call.graph.space, call.op(), call.tensor(0)?).map_err(|why| why.to_string())?;
    Ok(vec![cropped.into()])
}
