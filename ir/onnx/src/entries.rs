//! Key-value lists and optional texts: how protobuf says "map" and "empty".

use std::collections::BTreeMap;

use crate::proto::{OperatorSetIdProto, StringStringEntryProto};
use spaceevo_ir::{ONNX, Symbol};

/// A key-value list; of equal keys the last wins.
pub(crate) fn map_in(list: &[StringStringEntryProto]) -> BTreeMap<String, String> {
    list.iter().map(|e| (e.key().to_string(), e.value().to_string())).collect()
}

/// The list of a map, sorted by key.
pub(crate) fn map_out(map: &BTreeMap<String, String>) -> Vec<StringStringEntryProto> {
    map.iter().map(|(k, v)| entry(k, v)).collect()
}

/// One entry.
pub(crate) fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_string()), value: Some(value.to_string()) }
}

/// Empty texts are not written.
pub(crate) fn text_out(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

/// The IR's word for a domain: ONNX's default domain has a name.
pub(crate) fn domain_in(domain: &str) -> &str {
    if matches!(domain, "" | "ai.onnx") { ONNX } else { domain }
}

/// Inverse of [`domain_in`].
pub(crate) fn domain_out(domain: &str) -> &str {
    if domain == ONNX { "" } else { domain }
}

/// Operator sets by domain; of several versions the highest counts, as ONNX says.
pub(crate) fn opsets_in(list: &[OperatorSetIdProto]) -> BTreeMap<Symbol, u64> {
    let mut opsets: BTreeMap<Symbol, u64> = BTreeMap::new();
    for entry in list {
        let version = opsets.entry(domain_in(entry.domain()).into()).or_insert(0);
        *version = (*version).max(u64::try_from(entry.version()).unwrap_or(0));
    }
    opsets
}

/// Inverse of [`opsets_in`]: ONNX's own domain first, the others by name.
pub(crate) fn opsets_out(opsets: &BTreeMap<Symbol, u64>) -> Vec<OperatorSetIdProto> {
    let mut list: Vec<(&str, u64)> = opsets.iter().map(|(d, v)| (domain_out(d), *v)).collect();
    list.sort_unstable();
    list.into_iter()
        .map(|(domain, version)| OperatorSetIdProto {
            domain: Some(domain.to_string()),
            version: Some(i64::try_from(version).unwrap_or(i64::MAX)),
        })
        .collect()
}
