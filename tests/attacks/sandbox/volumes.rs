//! Class 7: names of an image's that lead out of a volume, by way of what root makes in it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use dormouse_attacks::{Attack, Ground, Outcome, Replicas};
use dormouse_driver::images::{archive, web, with};
use dormouse_sandbox::messages::{Event, ImageVolume, Request, VolumeSource};
use dormouse_spec::{Bytes, MountPath};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[Attack {
    class: 7,
    name: "a working directory that climbs out of its volume",
    defence: "WorkingDirectoryStays,VolumesLookedUpWithin",
    run: climb,
}];

/// Beside its volumes each container has its root, where the image has whatever links it likes.
fn climb(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(&Ground { replicas: Replicas::Created, ..ground.clone() });
    let data = stage.daemon.settings.data.clone();
    let outside = data.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).unwrap();
    let layer = stage.node.unpack_image(&data, archive().symlink("out", outside.to_str().unwrap()));
    let spec = with(web("climber", 1, &[layer]), |payload| {
        let source = VolumeSource::Memory { bytes: Bytes::from_mebibytes(1) };
        payload.volumes = vec![ImageVolume { at: MountPath::new("/cache").unwrap(), read_only: false, source }];
        payload.working_dir = "/cache/../root/out".to_owned();
    });
    stage.node.ask(&Request::Create(Box::new(spec.clone())));
    let told = match stage.node.of(&spec.replica) {
        Event::Created { .. } => "it begins within its volume".to_owned(),
        Event::Exited { cause, .. } => format!("refused: {cause}"),
        other => panic!("{other:?}"),
    };
    let owner = fs::metadata(&outside).unwrap().uid();
    stage.leave();
    if owner == 0 {
        Outcome::Stopped(told)
    } else {
        Outcome::GotThrough(format!("a directory of root's belongs to user {owner} of the image"))
    }
}
