#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn read(datatype: Datatype, dims: &[i64], json: &str) -> Result<Tensor<'static>, JsonDataError> {
    Tensor::from_json(datatype, &Shape::new(dims.to_vec()).unwrap(), json)
}

fn fp32(values: &[f32]) -> Tensor<'_> {
    Tensor::Fp32(Cow::Borrowed(values))
}

#[test]
fn flat_and_nested_are_the_same() {
    let expected = fp32(&[1.0, 2.5, -3.0, 4e3, 5.0, 6.0]);
    for json in ["[1,2.5,-3,4e3,5,6]", "[[1,2.5,-3],[4e3,5,6]]", " [ [1 ,2.5,\n-3 ] ,[4e3,5,6]]\t"] {
        assert_eq!(read(Datatype::Fp32, &[2, 3], json).unwrap(), expected, "{json}");
    }
    assert_eq!(read(Datatype::Fp32, &[1, 2, 3], "[[[1,2.5,-3],[4e3,5,6]]]").unwrap(), expected);
}

#[test]
fn scalars_and_no_elements() {
    assert_eq!(read(Datatype::Fp32, &[], "7").unwrap(), fp32(&[7.0]));
    assert_eq!(read(Datatype::Fp32, &[], "[7]").unwrap(), fp32(&[7.0]));
    assert_eq!(read(Datatype::Fp32, &[0], "[]").unwrap(), fp32(&[]));
    assert_eq!(read(Datatype::Fp32, &[2, 0], "[[],[]]").unwrap(), fp32(&[]));
    assert_eq!(read(Datatype::Fp32, &[2, 0], "[]").unwrap(), fp32(&[]));
    assert_eq!(read(Datatype::Fp32, &[1], "7").unwrap_err(), JsonDataError::NotAnArray);
    assert_eq!(read(Datatype::Fp32, &[], "[]").unwrap_err(), JsonDataError::TooFew { expected: 1, found: 0 });
}

#[test]
fn shape_and_nesting_must_agree() {
    let refused = |dims: &[i64], json| read(Datatype::Int8, dims, json).unwrap_err();
    assert_eq!(refused(&[3], "[1]"), JsonDataError::TooFew { expected: 3, found: 1 });
    assert_eq!(refused(&[1], "[1,2]"), JsonDataError::TooMany { expected: 1 });
    assert_eq!(refused(&[1], "[[1]]"), JsonDataError::TooDeep { rank: 1 });
    assert_eq!(refused(&[2, 2], "[[[1,2,3,4]]]"), JsonDataError::TooDeep { rank: 2 });
    assert_eq!(refused(&[2, 2], "[[1],[2,3,4]]"), JsonDataError::Row { dimension: 1, expected: 2, found: 1 });
    assert_eq!(refused(&[2, 2], "[[1,2]]"), JsonDataError::Row { dimension: 0, expected: 2, found: 1 });
    assert_eq!(refused(&[2, 2], "[[1,2],3,4]"), JsonDataError::Ragged { index: 2 });
    assert_eq!(refused(&[2, 2], "[1,[2,3],4]"), JsonDataError::TooDeep { rank: 2 });
    assert_eq!(refused(&[1 << 50], "[1]"), JsonDataError::TooFew { expected: 1 << 50, found: 1 });
}

#[test]
fn elements_must_be_of_the_type() {
    for (datatype, json) in [
        (Datatype::Int8, "[128]"),
        (Datatype::Uint8, "[-1]"),
        (Datatype::Int32, "[1.0]"),
        (Datatype::Int64, "[true]"),
        (Datatype::Int64, "[null]"),
        (Datatype::Fp32, "[\"1\"]"),
        (Datatype::Fp32, "[1e39]"),
        (Datatype::Fp64, "[{\"a\":1}]"),
        (Datatype::Bool, "[1]"),
        (Datatype::Bytes, "[1]"),
        (Datatype::Bytes, "[\"a\\u0000\"]"),
    ] {
        let error = read(datatype, &[1], json).unwrap_err();
        assert!(matches!(error, JsonDataError::Element { index: 0, .. }), "{datatype} {json}: {error}");
    }
    assert_eq!(read(Datatype::Fp16, &[1], "[1]").unwrap_err(), JsonDataError::NoJsonForm(Datatype::Fp16));
}

#[test]
fn strings_keep_their_escapes_and_brackets() {
    let expected = vec!["],\"[".to_owned(), "\\".to_owned(), "é\n".to_owned()];
    let json = serde_json::to_string(&expected).unwrap();
    assert_eq!(read(Datatype::Bytes, &[3], &json).unwrap(), Tensor::Bytes(Cow::Owned(expected)));
}

#[test]
fn long_tokens_are_cut_in_errors() {
    let json = format!("[{}]", "9".repeat(500));
    assert!(read(Datatype::Int8, &[1], &json).unwrap_err().to_string().len() < 120);
}

#[test]
fn floats_are_written_at_their_own_precision() {
    let mut out = Vec::new();
    fp32(&[0.1, 1.0, f32::MAX, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).write_json(&mut out).unwrap();
    assert_eq!(str::from_utf8(&out).unwrap(), "[0.1,1.0,3.4028235e+38,-0.0,NaN,Infinity,-Infinity]");
}

proptest! {
    #[test]
    fn finite_floats_survive_json(values: Vec<f32>) {
        let values: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
        let mut out = Vec::new();
        fp32(&values).write_json(&mut out).unwrap();
        let dims = [i64::try_from(values.len()).unwrap()];
        prop_assert_eq!(read(Datatype::Fp32, &dims, str::from_utf8(&out).unwrap()).unwrap(), fp32(&values));
    }

    #[test]
    fn arbitrary_text_never_panics(json in "[\\[\\]{},\"\\\\0-9ae. -]{0,40}", dims in prop::collection::vec(0_i64..4, 0..4)) {
        for datatype in Datatype::ALL {
            let _ = read(datatype, &dims, &json);
        }
    }
}
