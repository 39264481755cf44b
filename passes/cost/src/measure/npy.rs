//! Tensors as `.npy` files of NumPy, version 1.0 of the format.

use spaceevo_ir::{Elem, Tensor};

/// The file of a tensor; `None` for element types that NumPy does not have.
pub(super) fn bytes(tensor: &Tensor) -> Option<Vec<u8>> {
    let kind = match tensor.elem() {
        Elem::Bool => "|b1",
        Elem::U8 => "|u1",
        Elem::I8 => "|i1",
        Elem::U16 => "<u2",
        Elem::I16 => "<i2",
        Elem::U32 => "<u4",
        Elem::I32 => "<i4",
        Elem::U64 => "<u8",
        Elem::I64 => "<i8",
        Elem::F16 => "<f2",
        Elem::F32 => "<f4",
        Elem::F64 => "<f8",
        _ => return None,
    };
    let dims: String = tensor.dims().iter().map(|extent| format!("{extent}, ")).collect();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}", dims.trim_end());
    // The data begin at a multiple of 64; the header ends with a line feed.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = length - 1);
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend_from_slice(&u16::try_from(length).ok()?.to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&tensor.bytes());
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_numpy_writes_it() {
        let file = bytes(&Tensor::new([2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
        assert_eq!(&file[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = std::str::from_utf8(&file[10..128]).unwrap();
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,), }  "), "{header}");
        assert!(header.ends_with(" \n"));
        assert_eq!(file.len(), 128 + 24);
        assert!(std::str::from_utf8(&bytes(&Tensor::scalar(1u8)).unwrap()[10..128]).unwrap().contains("'shape': ()"));
    }
}
