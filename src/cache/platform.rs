//! What differs between operating systems, in one place.

use std::fs::{self, Permissions};
use std::io;
use std::path::Path;

/// File systems on which several hosts, or a host and its virtual machines, see one file. SQLite's WAL keeps part of its
/// state in memory that only one host can share, so there the index uses a rollback journal. Numbers from the Linux
/// headers (`statfs(2)`). FUSE is among them although it may be local: nothing tells sshfs from a local one.
#[cfg(any(target_os = "linux", test))]
const SHARED: [u32; 15] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xfe53_4d42, // SMB2
    0xff53_4d42, // CIFS
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x6573_5546, // FUSE
    0x0102_1997, // 9P
    0x00c3_6400, // Ceph
    0x1983_0326, // BeeGFS
    0x5346_414f, // AFS
    0x7461_636f, // OCFS2
    0x0116_1970, // GFS2
    0x786f_4256, // VirtualBox shared folders
    0xaad7_aaea, // PanFS
];

/// Says whether several hosts may see the folder. `false` where it cannot be told.
#[cfg(target_os = "linux")]
pub(super) fn is_shared(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| is_shared_type(found.f_type as u32))
}

/// Says whether several hosts may see the folder. Not known on this system: taken for local.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_shared(_path: &Path) -> bool {
    false
}

#[cfg(any(target_os = "linux", test))]
fn is_shared_type(file_system: u32) -> bool {
    SHARED.contains(&file_system)
}

/// Returns the name of this host, for people who wait for a lock.
#[cfg(unix)]
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns the name of this host, for people who wait for a lock.
#[cfg(not(unix))]
pub(super) fn host() -> String {
    "this host".to_owned()
}

/// Lets nobody write the file, and everybody read it, so that a node cannot change an artifact by accident.
pub(super) fn make_read_only(path: &Path) -> io::Result<()> {
    let mut permissions = fs_err::metadata(path)?.permissions();
    read_only(&mut permissions);
    fs_err::set_permissions(path, permissions)
}

#[cfg(unix)]
fn read_only(permissions: &mut Permissions) {
    std::os::unix::fs::PermissionsExt::set_mode(permissions, 0o444);
}

#[cfg(not(unix))]
fn read_only(permissions: &mut Permissions) {
    permissions.set_readonly(true);
}

/// How a file looked when it was read: if all of it is the same later, so is the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// When the content changed last, in nanoseconds since 1970.
    pub(super) modified: i64,
    /// When content, name or mode changed last, in nanoseconds since 1970. Unlike `modified` no program can set it.
    pub(super) changed: i64,
    pub(super) inode: u64,
    pub(super) device: u64,
}

impl Stamp {
    #[cfg(unix)]
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        let since = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = since.map_or(i64::MAX, |since| since.as_nanos() as i64);
        Self { size: metadata.len(), modified, changed: modified, inode: 0, device: 0 }
    }

    /// Returns when anything about the file changed last, in nanoseconds since 1970.
    pub(super) fn latest(&self) -> i64 {
        self.modified.max(self.changed)
    }
}

/// Returns which file lies at `path`: device and inode. `None` if there is none.
#[cfg(unix)]
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs_err::metadata(path).ok().as_ref().map(identity_of)
}

/// Returns which file lies at `path`. Not told on this system.
#[cfg(not(unix))]
pub(super) fn identity(_path: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(unix)]
fn identity_of(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;

    (metadata.dev(), metadata.ino())
}

/// Says whether an open file is the one that lies at `path` now.
#[cfg(unix)]
pub(super) fn is_at(file: &fs::File, path: &Path) -> bool {
    file.metadata().is_ok_and(|open| Some(identity_of(&open)) == identity(path))
}

/// Says whether an open file is the one that lies at `path` now. Here an open file keeps its name.
#[cfg(not(unix))]
pub(super) fn is_at(_file: &fs::File, path: &Path) -> bool {
    path.exists()
}

/// Returns how many hard links a file has.
#[cfg(unix)]
pub(super) fn links(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// Returns how many hard links a file has. Not told on this system.
#[cfg(not(unix))]
pub(super) fn links(_metadata: &fs::Metadata) -> u64 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        for shared in [0x6969, 0xff53_4d42, 0x0bd0_0bd0, 0x4750_4653] {
            assert!(is_shared_type(shared));
        }
        for (local, name) in [(0xef53, "ext4"), (0x5846_5342, "xfs"), (0x9123_683e, "btrfs"), (0x0102_1994, "tmpfs")] {
            assert!(!is_shared_type(local), "{name}");
        }
    }
}
