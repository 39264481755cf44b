//! Parts of tensors: what `space.Crop` leaves.

use bytes::Bytes;
use spaceevo_ir::{Elem, Tensor};

#[test]
fn a_window_holds_the_numbers_that_stand_there() {
    let whole = Tensor::new([2, 3, 4], (0..24).collect::<Vec<i32>>());
    let part = whole.window(&[1, 0, 1], &[1, 2, 2]).expect("inside");
    assert_eq!(part, Tensor::new([1, 2, 2], vec![13, 14, 17, 18]));
    assert_eq!(whole.window(&[0, 0, 0], &[2, 3, 4]), Some(whole.clone()));
    assert_eq!(whole.window(&[2, 1, 0], &[0, 2, 4]).map(|t| t.len()), Some(0));
    assert_eq!(Tensor::scalar(1.5f32).window(&[], &[]), Some(Tensor::scalar(1.5f32)));
}

#[test]
fn a_window_lies_inside() {
    let whole = Tensor::new([2, 3], vec![0u8; 6]);
    for (starts, dims) in [(&[0, 2][..], &[2, 2][..]), (&[0], &[2]), (&[usize::MAX, 0], &[2, 1]), (&[0, 0, 0], &[1, 1, 1])] {
        assert_eq!(whole.window(starts, dims), None, "{starts:?} {dims:?}");
    }
}

#[test]
fn elements_of_any_size_can_be_cut() {
    let words = Tensor::strings([2, 2], ["a", "b", "c", "d"].map(Bytes::from).to_vec());
    assert_eq!(words.window(&[0, 1], &[2, 1]), Some(Tensor::strings([2, 1], ["b", "d"].map(Bytes::from).to_vec())));
    for elem in [Elem::U4, Elem::I4, Elem::U2, Elem::F6E2M3, Elem::F4E2M1, Elem::F16, Elem::F64] {
        let numbers: Vec<f64> = (0..15).map(|i| f64::from(i % 2)).collect();
        let whole = Tensor::from_f64(elem, [3, 5], &numbers).expect("a numeric type");
        let part = whole.window(&[1, 1], &[2, 3]).expect("inside");
        assert_eq!(part.to_f64(), Some(vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0]), "{elem}");
    }
}
