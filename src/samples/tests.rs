use std::io::Write;
use std::path::{Path, PathBuf};

use spaceevo_ir::Type;
use tempfile::TempDir;

use super::*;

fn port(name: &str, elem: Elem, dims: &[u64]) -> Port {
    let rest = dims.iter().map(|&n| Dim::Known(n));
    let shape: Vec<Dim> = std::iter::once(Dim::Named("N".into())).chain(rest).collect();
    Port { name: name.into(), ty: TensorType::new(elem, shape).into() }
}

/// The bytes of an `.npy` file of format 1.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A ZIP archive of entries, deflated or stored, as little as a reader needs.
fn zip_of(entries: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
    let (mut bytes, mut table) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let stored = if deflate {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        } else {
            data.clone()
        };
        let start = bytes.len() as u32;
        let method = if deflate { 8u16 } else { 0 };
        let mut common = vec![20, 0, 0, 0];
        common.extend_from_slice(&method.to_le_bytes());
        common.extend_from_slice(&[0; 8]);
        common.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        common.extend_from_slice(&(data.len() as u32).to_le_bytes());
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(b"PK\x03\x04");
        bytes.extend_from_slice(&common);
        // An extra field in the local header alone, as NumPy writes it.
        bytes.extend_from_slice(&4u16.to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&[9, 9, 0, 0]);
        bytes.extend_from_slice(&stored);
        table.extend_from_slice(b"PK\x01\x02\x14\x00");
        table.extend_from_slice(&common);
        table.extend_from_slice(&[0; 12]);
        table.extend_from_slice(&start.to_le_bytes());
        table.extend_from_slice(name.as_bytes());
    }
    let (start, length) = (bytes.len() as u32, table.len() as u32);
    bytes.extend_from_slice(&table);
    bytes.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
    bytes.extend_from_slice(&[entries.len() as u8, 0, entries.len() as u8, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&start.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A grey picture of the given size and brightness.
fn pgm(width: usize, height: usize, value: u8) -> Vec<u8> {
    let mut bytes = format!("P5\n# made by a test\n{width} {height}\n255\n").into_bytes();
    bytes.extend(vec![value; width * height]);
    bytes
}

fn fails(path: &Path, inputs: &[Port], preprocess: Option<&Preprocess>) -> Diagnostic {
    open(path, inputs, preprocess).err().expect("samples that must be refused")
}

#[test]
fn rows_of_an_npy_are_samples_in_any_order() {
    let folder = Folder::new();
    let path = folder.write("x.npy", npy("<f4", "(3, 2)", &floats(&[1., 2., 3., 4., 5., 6.])));
    let source = open(&path, &[port("x", Elem::F32, &[2])], None).unwrap();
    assert_eq!(source.len(), 3);
    for index in [2, 0, 1] {
        let first = index as f32 * 2.0 + 1.0;
        assert_eq!(source.get(index).unwrap(), [Tensor::new([1, 2], vec![first, first + 1.0])]);
    }
    assert_eq!((source.name(1).as_str(), source.label(1)), ("x.npy[1]", None));
    assert_eq!(source.get(3).unwrap_err().code, "samples-unreadable");
}

#[test]
fn numbers_become_the_element_type_of_the_input() {
    let folder = Folder::new();
    let half: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&v| half_bits(v).to_le_bytes()).collect();
    let cases: [(&str, Vec<u8>, Elem, [f64; 2]); 5] = [
        ("|u1", vec![7, 255], Elem::F32, [7.0, 255.0]),
        ("<f8", [0.25f64, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect(), Elem::F32, [0.25, 3.0]),
        ("<f2", half, Elem::F32, [1.5, -2.0]),
        ("<i8", [5i64, -9].iter().flat_map(|v| v.to_le_bytes()).collect(), Elem::I64, [5.0, -9.0]),
        ("<f4", floats(&[3.0, 300.0]), Elem::U8, [3.0, 255.0]),
    ];
    for (descr, data, elem, expected) in cases {
        let path = folder.write("x.npy", npy(descr, "(1, 2)", &data));
        let sample = open(&path, &[port("x", elem, &[2])], None).unwrap().get(0).unwrap().remove(0);
        assert_eq!((sample.elem(), sample.to_f64().unwrap()), (elem, expected.to_vec()), "{descr}");
    }
}

/// Bits of a half for numbers that need no rounding.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    ((bits >> 16) & 0x8000) as u16 | (exponent as u16) << 10 | ((bits >> 13) & 0x3ff) as u16
}

#[test]
fn arrays_that_do_not_fit_say_what_was_expected() {
    let folder = Folder::new();
    let input = [port("x", Elem::F32, &[3, 4])];
    let path = folder.write("x.npy", npy("<f4", "(2, 3)", &floats(&[0.0; 6])));
    let error = fails(&path, &input, None);
    assert_eq!((error.code, error.message.as_str()), ("samples-shape", "expected the shape Nx3x4, found 2x3"));
    let path = folder.write("none.npy", npy("<f4", "(0, 3, 4)", &[]));
    assert_eq!(fails(&path, &input, None).code, "samples-empty");
    let path = folder.write("cut.npy", npy("<f4", "(2, 3, 4)", &floats(&[0.0; 20])));
    assert!(fails(&path, &input, None).message.contains("cut short: 96 bytes of numbers expected, 80 found"));
    let huge = npy("<f4", "(4611686018427387904, 3, 4)", &[]);
    assert!(fails(&folder.write("huge.npy", huge), &input, None).message.contains("absurd"));
    let path = folder.write("text.npy", "hello, world");
    assert!(fails(&path, &input, None).message.contains("is no NumPy array"));
    let path = folder.write("scalar.npy", npy("<f4", "()", &floats(&[0.0])));
    assert!(fails(&path, &input, None).message.contains("is a scalar"));
}

#[test]
fn numbers_that_are_not_finite_are_found_in_their_sample() {
    let folder = Folder::new();
    let path = folder.write("x.npy", npy("<f4", "(2, 2)", &floats(&[1., 2., 3., f32::NAN])));
    let source = open(&path, &[port("x", Elem::F32, &[2])], None).unwrap();
    assert!(source.get(0).is_ok());
    let error = source.get(1).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("samples-not-finite", "sample 1: element 1 is NaN or infinite"));
}

#[test]
fn an_npz_has_one_array_per_input_stored_or_deflated() {
    let folder = Folder::new();
    let a = npy("<f4", "(3, 2)", &floats(&[1., 2., 3., 4., 5., 6.]));
    let b = npy("|u1", "(3, 1)", &[7, 8, 9]);
    for deflate in [false, true] {
        let path = folder.write("x.npz", zip_of(&[("a.npy", a.clone()), ("in/b.npy", b.clone())], deflate));
        let inputs = [port("in/b", Elem::U8, &[1]), port("a", Elem::F32, &[2])];
        let source = open(&path, &inputs, None).unwrap();
        for index in [1, 2, 0, 2] {
            let first = index as f32 * 2.0 + 1.0;
            let expected = [Tensor::new([1, 1], vec![7 + index as u8]), Tensor::new([1, 2], vec![first, first + 1.0])];
            assert_eq!(source.get(index).unwrap(), expected, "deflated: {deflate}");
        }
        let error = fails(&path, &[port("c", Elem::F32, &[2])], None);
        assert_eq!((error.code, error.message.as_str()), ("samples-missing-input", "has no array 'c'; it has: a, in/b"));
    }
    let uneven = zip_of(&[("a.npy", a.clone()), ("b.npy", npy("|u1", "(2, 1)", &[7, 8]))], false);
    let error = fails(&folder.write("y.npz", uneven), &[port("a", Elem::F32, &[2]), port("b", Elem::U8, &[1])], None);
    assert_eq!(error.message, "array 'a' has 3 samples, array 'b' has 2");
}

#[test]
fn broken_archives_are_refused_wherever_they_are_cut() {
    let folder = Folder::new();
    let whole = zip_of(&[("a.npy", npy("<f4", "(3, 2)", &floats(&[0.0; 6])))], true);
    let inputs = [port("a", Elem::F32, &[2])];
    let opened = |bytes: &[u8]| open(&folder.write("x.npz", bytes), &inputs, None).and_then(|s| s.get(2));
    assert!(opened(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(opened(&whole[..end]).is_err(), "cut at {end}");
    }
    // Any byte changed: an answer or a diagnostic, never a panic.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let _ = opened(&bytes);
    }
}

#[test]
fn an_npy_cannot_feed_two_inputs() {
    let folder = Folder::new();
    let path = folder.write("x.npy", npy("<f4", "(1, 1)", &floats(&[0.0])));
    let error = fails(&path, &[port("a", Elem::F32, &[1]), port("b", Elem::F32, &[1])], None);
    assert_eq!(error.code, "samples-missing-input");
    assert!(error.to_string().contains(".npz"), "{error}");
}

#[test]
fn pictures_come_in_the_order_of_their_names_with_labels() {
    let folder = Folder::new();
    folder.write("img/b.pgm", pgm(4, 4, 20));
    folder.write("img/a.ppm", b"P6 1 1 255 \x01\x02\x03");
    folder.write("img/notes.txt", "not a picture");
    folder.write("labels.csv", "name,label,file\n\"fish, big\",5,b.pgm\n");
    let preprocess = Preprocess::default();
    let source = open(&folder.path().join("img"), &[port("x", Elem::F32, &[3, 2, 2])], Some(&preprocess)).unwrap();
    assert_eq!((source.len(), source.name(0), source.name(1)), (2, "a.ppm".into(), "b.pgm".into()));
    assert_eq!((source.label(0), source.label(1)), (None, Some(5)));
    let expected = [[1f32; 4], [2.; 4], [3.; 4]].concat();
    assert_eq!(source.get(0).unwrap(), [Tensor::new([1, 3, 2, 2], expected)]);
    assert_eq!(source.get(1).unwrap(), [Tensor::new([1, 3, 2, 2], vec![20f32; 12])]);
}

#[test]
fn png_files_of_every_kind_are_read() {
    let folder = Folder::new();
    let write = |name: &str, colour: png::ColorType, depth: png::BitDepth, palette: Option<Vec<u8>>, data: &[u8]| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        folder.write(name, bytes);
    };
    use png::{BitDepth as D, ColorType as C};
    write("1.png", C::Rgb, D::Eight, None, &[1, 2, 3, 4, 5, 6]);
    write("2.png", C::Rgba, D::Eight, None, &[1, 2, 3, 99, 4, 5, 6, 99]);
    write("3.png", C::Indexed, D::Eight, Some(vec![4, 5, 6, 1, 2, 3]), &[1, 0]);
    write("4.png", C::Grayscale, D::Sixteen, None, &[8, 77, 9, 77]);
    write("5.png", C::Grayscale, D::One, None, &[0b0100_0000]);
    let spec = Preprocess { resize: Resize::None, layout: Layout::Nhwc, ..Preprocess::default() };
    let source = open(folder.path(), &[port("x", Elem::F32, &[1, 2, 3])], Some(&spec)).unwrap();
    let values: Vec<Vec<f32>> = (0..5).map(|i| source.get(i).unwrap()[0].to_f32().unwrap()).collect();
    for colours in &values[..3] {
        assert_eq!(colours, &[1., 2., 3., 4., 5., 6.]);
    }
    assert_eq!(values[3..], [[8., 8., 8., 9., 9., 9.], [0., 0., 0., 255., 255., 255.]]);
}

#[test]
fn folders_that_cannot_be_used_say_what_to_do() {
    let folder = Folder::new();
    let input = [port("x", Elem::F32, &[3, 2, 2])];
    let spec = Preprocess::default();
    assert_eq!(fails(folder.path(), &input, Some(&spec)).message, "is an empty folder");
    folder.write("readme.txt", "");
    assert_eq!(fails(folder.path(), &input, Some(&spec)).code, "samples-empty");
    folder.write("a.jpg", [0xff, 0xd8, 0xff, 0xe0, 0, 0]);
    folder.write("b.png", "GIF89a");
    folder.write("c.ppm", b"P6 60000 60000 255 ");
    folder.write("d.png", "");
    let error = fails(folder.path(), &input, None);
    assert_eq!(error.code, "samples-no-preprocess");
    assert!(error.to_string().contains("--preprocess"), "{error}");
    let source = open(folder.path(), &input, Some(&spec)).unwrap();
    for (index, (name, what)) in
        [("a.jpg", "damaged JPEG"), ("b.png", "neither"), ("c.ppm", "at most"), ("d.png", "is empty")].iter().enumerate()
    {
        let error = source.get(index).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(what), "{error}");
    }
    let error = fails(folder.path(), &[port("x", Elem::F32, &[1, 2, 2])], Some(&spec));
    assert_eq!(error.message, "preprocessing makes 3x2x2, the model's input 'x' is 1x2x2");
    let open_size = Port { name: "x".into(), ty: TensorType::new(Elem::F32, vec![Dim::Unknown; 4]).into() };
    assert!(
        fails(folder.path(), std::slice::from_ref(&open_size), Some(&spec)).message.contains("leaves height and width open")
    );
    let sized = Preprocess { crop: Some((2, 2)), ..spec.clone() };
    assert!(open(folder.path(), &[open_size], Some(&sized)).is_ok());
    folder.write("labels.csv", "file,label\na.jpg,cat\n");
    let error = fails(folder.path(), &input, Some(&spec));
    assert!(error.message.contains("line 2: the label 'cat' is no class number"), "{error}");
}

#[test]
fn paths_that_are_no_samples_are_refused() {
    let folder = Folder::new();
    let input = [port("x", Elem::F32, &[1])];
    assert_eq!(fails(&folder.path().join("nothing"), &input, None).code, "samples-unreadable");
    assert_eq!(fails(&folder.write("m.onnx", ""), &input, None).message, "is a model, not samples");
    assert_eq!(fails(&folder.write("m.csv", ""), &input, None).code, "samples-unsupported");
}

#[test]
fn inputs_that_cannot_be_fed_one_by_one_are_refused() {
    let folder = Folder::new();
    let path = folder.write("x.npy", npy("<f4", "(1, 1)", &floats(&[0.0])));
    let fixed = Port { name: "x".into(), ty: TensorType::of(Elem::F32, &[4, 1]).into() };
    assert!(fails(&path, &[fixed], None).message.contains("fixed batch of 4"));
    let scalar = Port { name: "x".into(), ty: TensorType::of(Elem::F32, &[]).into() };
    assert!(fails(&path, &[scalar], None).message.contains("no batch axis"));
    let unknown = Port { name: "x".into(), ty: Type::Unknown };
    assert!(fails(&path, &[unknown], None).message.contains("is no tensor"));
}

#[test]
fn test_data_sets_are_samples_by_number() {
    let folder = Folder::new();
    for (set, value) in [(0, 1f32), (2, 3.0), (10, 9.0)] {
        let bytes = spaceevo_onnx::tensor_to_bytes(&Tensor::new([1, 1], vec![value]), "x");
        folder.write(&format!("test_data_set_{set}/input_0.pb"), bytes);
    }
    let source = open(folder.path(), &[port("x", Elem::F32, &[1])], None).unwrap();
    let values: Vec<f32> = (0..source.len()).map(|i| source.get(i).unwrap()[0].to_f32().unwrap()[0]).collect();
    assert_eq!(values, [1.0, 3.0, 9.0]);
    assert_eq!(source.name(2), "test_data_set_10");
    std::fs::write(folder.path().join("test_data_set_2/input_0.pb"), [0xff; 9]).unwrap();
    assert!(source.get(1).is_err());
}
