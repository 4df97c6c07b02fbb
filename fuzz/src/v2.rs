//! What clients send to a model: requests, and the tensors in them.

use dormouse_worker::v2::{
    Datatype, InferRequest, Shape, Signature, Tensor, TensorSpec,
    request::{InputTensor, RequestedOutput},
};

/// The most bytes that a decoded element may hold for each byte of the request: an FP64 for the
/// shortest JSON number and its comma.
const GROWTH_MAX: usize = 8;

/// The first line is a digit that picks a model and the value of the header that says how long the
/// JSON is; the rest is the body. What is accepted fits the model exactly, and means the same when
/// it is sent again as binary.
pub fn v2_requests(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (first, body) = (&data[..end], &data[end + 1..]);
    let Some((pick, header)) = str::from_utf8(first).ok().and_then(|line| line.split_at_checked(1)) else { return };
    let signature = signature(pick);
    let header = (!header.is_empty()).then_some(header);
    let Ok(request) = InferRequest::decode(body, header, &signature) else { return };
    check(&request, &signature);
    // An empty raw body is one empty string.
    let most = GROWTH_MAX * (body.len() + 1);
    assert!(request.inputs.iter().map(size).sum::<usize>() <= most);
    let (json, binary) = as_binary(&request, &signature);
    let again = InferRequest::decode(&[json.as_bytes(), &binary].concat(), Some(&json.len().to_string()), &signature)
        .expect("what was accepted is accepted as binary");
    assert_eq!(again.id, request.id);
    assert_eq!(again.outputs, request.outputs);
    // Bytes are compared: a NaN is no other NaN's equal.
    assert_eq!(as_binary(&again, &signature), (json, binary));
}

/// A datatype, how many elements there are said to be, and bytes. What is accepted is those elements
/// and writes back the same bytes.
pub fn binary_tensors(data: &[u8]) {
    let Some((pick, rest)) = data.split_first() else { return };
    let Some((count, bytes)) = rest.split_first_chunk::<8>() else { return };
    let datatype = Datatype::ALL[usize::from(*pick) % Datatype::ALL.len()];
    let elements = usize::try_from(u64::from_le_bytes(*count)).unwrap_or(usize::MAX);
    let Ok(tensor) = Tensor::from_binary(datatype, elements, bytes) else { return };
    assert_eq!((tensor.datatype(), length(&tensor), tensor.binary_size()), (datatype, elements, bytes.len()));
    let mut written = Vec::new();
    tensor.write_binary(&mut written);
    assert_eq!(written, bytes);
    if datatype.has_json_form() {
        check_json(&tensor, elements);
    }
}

/// JSON has words for infinities that it does not read, so only what it reads is compared.
fn check_json(tensor: &Tensor<'_>, elements: usize) {
    let mut json = Vec::new();
    if tensor.write_json(&mut json).is_err() {
        return;
    }
    let text = str::from_utf8(&json).expect("JSON is text");
    let shape = Shape::new(vec![i64::try_from(elements).expect("as many as bytes")]).expect("one dimension");
    if let Ok(read) = Tensor::from_json(tensor.datatype(), &shape, text) {
        assert_eq!(read, *tensor);
    }
}

fn check(request: &InferRequest, signature: &Signature) {
    assert_eq!(request.inputs.len(), signature.inputs.len());
    for (input, spec) in request.inputs.iter().zip(&signature.inputs) {
        spec.check(input.tensor.datatype(), &input.shape).expect("it fits the model");
        assert_eq!(length(&input.tensor), input.shape.elements(), "as many elements as the shape says");
    }
    assert!(!request.outputs.is_empty());
    for (at, output) in request.outputs.iter().enumerate() {
        let spec = signature.outputs.get(output.index).expect("the model has the output");
        assert!(output.binary || spec.datatype.has_json_form());
        assert!(request.outputs[..at].iter().all(|earlier| earlier.index != output.index), "each once");
    }
}

/// The request with every input as binary: its JSON and what follows it.
fn as_binary(request: &InferRequest, signature: &Signature) -> (String, Vec<u8>) {
    let mut binary = Vec::new();
    let input = |(InputTensor { shape, tensor }, spec): (&InputTensor, &TensorSpec)| {
        tensor.write_binary(&mut binary);
        serde_json::json!({
            "name": spec.name, "datatype": spec.datatype.name(), "shape": shape.dims(),
            "parameters": {"binary_data_size": tensor.binary_size()},
        })
    };
    let inputs: Vec<_> = request.inputs.iter().zip(&signature.inputs).map(input).collect();
    let output = |RequestedOutput { index, binary }: &RequestedOutput| serde_json::json!({"name": signature.outputs[*index].name, "parameters": {"binary_data": binary}});
    let outputs: Vec<_> = request.outputs.iter().map(output).collect();
    let mut json = serde_json::json!({"inputs": inputs, "outputs": outputs});
    if let Some(id) = &request.id {
        json["id"] = id.as_str().into();
    }
    (json.to_string(), binary)
}

fn signature(pick: &str) -> Signature {
    let spec = |name: &str, datatype, dims: &[i64]| TensorSpec { name: name.to_owned(), datatype, dims: dims.to_vec() };
    let x_to_y = |datatype, dims: &[i64]| Signature {
        inputs: vec![spec("x", datatype, dims)],
        outputs: vec![spec("y", datatype, dims), spec("z", Datatype::Int64, &[])],
    };
    let of_each = |prefix: &str| -> Vec<TensorSpec> {
        Datatype::ALL.iter().map(|datatype| spec(&format!("{prefix}{datatype}"), *datatype, &[-1])).collect()
    };
    match pick {
        "0" => x_to_y(Datatype::Fp32, &[-1, 3]),
        "1" => x_to_y(Datatype::Bytes, &[-1]),
        "2" => x_to_y(Datatype::Fp16, &[2, 2]),
        "3" => x_to_y(Datatype::Bool, &[]),
        "4" => x_to_y(Datatype::Int64, &[-1, -1, i64::MAX]),
        _ => Signature { inputs: of_each("in-"), outputs: of_each("out-") },
    }
}

fn length(tensor: &Tensor<'_>) -> usize {
    match tensor {
        Tensor::Bool(values) => values.len(),
        Tensor::Uint8(values) => values.len(),
        Tensor::Uint16(values) => values.len(),
        Tensor::Uint32(values) => values.len(),
        Tensor::Uint64(values) => values.len(),
        Tensor::Int8(values) => values.len(),
        Tensor::Int16(values) => values.len(),
        Tensor::Int32(values) => values.len(),
        Tensor::Int64(values) => values.len(),
        Tensor::Fp16(values) => values.len(),
        Tensor::Bf16(values) => values.len(),
        Tensor::Fp32(values) => values.len(),
        Tensor::Fp64(values) => values.len(),
        Tensor::Bytes(values) => values.len(),
    }
}

fn size(input: &InputTensor) -> usize {
    input.tensor.binary_size()
}
