//! The `devices` controller: deny everything, allow a list, read the list back.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use super::{DeviceError, DeviceRule};

/// Makes `rules` the policy of the group whose directory in the `devices` hierarchy this is.
///
/// # Errors
/// Where the list that the kernel then tells is not exactly this one. Everything is denied first,
/// so a failure leaves less allowed, never more.
pub fn apply(directory: &Path, rules: &[DeviceRule]) -> Result<(), DeviceError> {
    write(&directory.join("devices.deny"), "a")?;
    for rule in rules {
        write(&directory.join("devices.allow"), &rule.to_string())?;
    }
    let path = directory.join("devices.list");
    let list = fs::read_to_string(&path).map_err(DeviceError::file("reading", &path))?;
    verify(rules, &list)
}

fn write(path: &Path, value: &str) -> Result<(), DeviceError> {
    let failed = DeviceError::file("writing", path);
    // One call for one rule: the kernel takes no more at a time.
    OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes())).map_err(failed)
}

fn verify(rules: &[DeviceRule], list: &str) -> Result<(), DeviceError> {
    let given: BTreeSet<String> = rules.iter().map(DeviceRule::to_string).collect();
    let enforced: BTreeSet<String> = list.lines().map(|line| line.trim().to_owned()).collect();
    if given == enforced {
        return Ok(());
    }
    let listed = |rules: BTreeSet<String>| rules.into_iter().collect::<Vec<_>>().join(", ");
    Err(DeviceError::NotEnforced { given: listed(given), enforced: listed(enforced) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::WORKER_DEVICES;

    #[test]
    fn the_list_must_be_the_rules_and_nothing_else() {
        let list = "c 1:9 rw\nc 1:3 rw\nc 1:5 rw\nc 1:7 rw\nc 1:8 rw\n";
        assert!(verify(&WORKER_DEVICES, list).is_ok());
        for other in ["a *:* rwm\n", "", "c 1:3 rw\n", &format!("{list}c 136:* rwm\n")] {
            assert!(verify(&WORKER_DEVICES, other).is_err(), "{other}");
        }
        assert!(verify(&[], "").is_ok());
    }
}
