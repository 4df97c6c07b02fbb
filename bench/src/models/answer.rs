//! Whether an answer is right: the outputs that the original model gives for the same input.

use serde_json::Value;

use crate::Failure;

/// An optimised graph adds in another order, so its last digits differ.
const ABSOLUTE: f64 = 1e-4;
const RELATIVE: f64 = 1e-3;

/// The outputs of one inference.
#[derive(Debug)]
pub(crate) struct Answer(Vec<Output>);

#[derive(Debug)]
struct Output {
    name: String,
    shape: Value,
    data: Vec<f64>,
}

impl Answer {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Failure> {
        let body: Value = serde_json::from_slice(body)?;
        let outputs = body["outputs"].as_array().filter(|outputs| !outputs.is_empty());
        let outputs = outputs.ok_or_else(|| format!("an answer without outputs: {body}"))?;
        Ok(Self(outputs.iter().map(Output::of).collect::<Result<_, _>>()?))
    }

    /// Fails, saying where, unless this answer is `reference` but for rounding.
    pub(crate) fn check(&self, reference: &Self) -> Result<(), Failure> {
        if self.0.len() != reference.0.len() {
            return Err(format!("{} outputs where {} are right", self.0.len(), reference.0.len()).into());
        }
        self.0.iter().zip(&reference.0).try_for_each(|(ours, right)| ours.check(right))
    }
}

impl Output {
    fn of(output: &Value) -> Result<Self, Failure> {
        let name = output["name"].as_str().unwrap_or_default().to_owned();
        let data = output["data"].as_array().ok_or_else(|| format!("output `{name}` carries no data"))?;
        let numbers: Option<Vec<f64>> = data.iter().map(Value::as_f64).collect();
        let data = numbers.ok_or_else(|| format!("output `{name}` holds what is no number"))?;
        Ok(Self { name, shape: output["shape"].clone(), data })
    }

    fn check(&self, right: &Self) -> Result<(), Failure> {
        if (&self.name, &self.shape, self.data.len()) != (&right.name, &right.shape, right.data.len()) {
            return Err(format!(
                "output `{}` {} where `{}` {} is right",
                self.name, self.shape, right.name, right.shape
            )
            .into());
        }
        let is_near = |(ours, right): (&f64, &f64)| (ours - right).abs() <= ABSOLUTE + RELATIVE * right.abs();
        match self.data.iter().zip(&right.data).position(|pair| !is_near(pair)) {
            None => Ok(()),
            Some(at) => Err(format!(
                "output `{}` [{at}] is {:?} where {:?} is right",
                self.name,
                self.data.get(at),
                right.data.get(at)
            )
            .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shape: &str, data: &str) -> Answer {
        let body = format!(r#"{{"outputs":[{{"name":"y","datatype":"FP32","shape":{shape},"data":{data}}}]}}"#);
        Answer::parse(body.as_bytes()).unwrap_or(Answer(Vec::new()))
    }

    #[test]
    fn rounding_is_no_difference() {
        assert!(answer("[1,2]", "[0.5,100.05]").check(&answer("[1,2]", "[0.50005,100.0]")).is_ok());
    }

    #[test]
    fn what_differs_is_named() {
        let right = answer("[1,2]", "[0.5,100.0]");
        let told = |ours: &Answer| ours.check(&right).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told(&answer("[1,2]", "[0.5,101.0]")).contains("`y` [1] is Some(101.0)"));
        assert!(told(&answer("[2,1]", "[0.5,100.0]")).contains("[2,1]"));
        assert!(told(&answer("[1,2]", "[0.5]")).contains("is right"));
    }

    #[test]
    fn an_error_is_no_answer() {
        assert!(Answer::parse(br#"{"error":"no"}"#).is_err());
        assert!(Answer::parse(br#"{"outputs":[]}"#).is_err());
        assert!(Answer::parse(br#"{"outputs":[{"name":"y","shape":[1],"data":[null]}]}"#).is_err());
    }
}
