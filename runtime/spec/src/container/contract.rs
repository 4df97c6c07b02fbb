use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What the image of a container keeps to, so that it runs as it does where it comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// What the image says of itself decides, when it is deployed.
    #[default]
    Auto,
    /// Knative's runtime contract.
    Knative,
    /// KServe's custom predictors, and servers of the open inference protocol.
    KServe,
    /// Amazon SageMaker's inference containers.
    SageMaker,
    /// MLflow's scoring server.
    MLflow,
    /// Cog's prediction server.
    Cog,
    /// OpenFaaS' watchdog.
    OpenFaaS,
    /// Nothing is added to what the image, the manifest and the flags say.
    Raw,
}

/// There is no such contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no contract `{0}`; there are {known}", known = known())]
pub struct ContractError(String);

impl Contract {
    pub const ALL: [Self; 8] =
        [Self::Auto, Self::Knative, Self::KServe, Self::SageMaker, Self::MLflow, Self::Cog, Self::OpenFaaS, Self::Raw];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Knative => "knative",
            Self::KServe => "kserve",
            Self::SageMaker => "sagemaker",
            Self::MLflow => "mlflow",
            Self::Cog => "cog",
            Self::OpenFaaS => "openfaas",
            Self::Raw => "raw",
        }
    }

    pub(super) fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

fn known() -> String {
    Contract::ALL.map(Contract::name).join(", ")
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Contract {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Self, ContractError> {
        let found = Self::ALL.into_iter().find(|contract| contract.name() == text);
        found.ok_or_else(|| ContractError(crate::printable(text)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_is_read_as_it_is_written() {
        for contract in Contract::ALL {
            assert_eq!(contract.name().parse(), Ok(contract));
            assert_eq!(serde_json::to_string(&contract).unwrap(), format!("\"{contract}\""));
        }
        let error = "lambda".parse::<Contract>().unwrap_err().to_string();
        assert!(error.contains("`lambda`") && error.contains("knative, kserve, sagemaker, mlflow, cog"), "{error}");
    }
}
