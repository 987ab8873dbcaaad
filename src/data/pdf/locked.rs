//! Encrypted PDF files that anybody may open: the password for reading them is empty, and the one that is not is for changing them.
//!
//! `lopdf` decrypts such files by itself while it loads them, but lets nobody count meanwhile what their objects unpack to. So a
//! file is loaded as if it were plain, with the entry that says otherwise under another name of the same length. Then its objects
//! are decrypted (RC4 and AES, by `lopdf`), and those that lie in streams are taken out, counted like those of plain files.
//!
//! What such a file allows its readers (printing, copying) is not looked at, as in PyMuPDF and pypdf.

use lopdf::encryption::decrypt_object;
use lopdf::xref::XrefEntry;
use lopdf::{DecompressError, Document, EncryptionState, Error, ObjectId, ObjectStream};

use super::{LARGEST_STREAM, Why, count};

/// The entry that says how a file is encrypted, and what it is called meanwhile.
const ENTRY: &[u8] = b"/Encrypt";
const HIDDEN: &[u8] = b"/Xncrypt";

/// Returns the bytes of a file as those of one that is not encrypted.
pub(super) fn as_plain(bytes: &[u8]) -> Vec<u8> {
    let mut plain = bytes.to_vec();
    for place in memchr::memmem::find_iter(bytes, ENTRY) {
        let end = place + ENTRY.len();
        // There is an `/EncryptMetadata` too.
        if bytes.get(end).is_some_and(|next| !next.is_ascii_alphanumeric()) {
            plain[place..end].copy_from_slice(HIDDEN);
        }
    }
    plain
}

/// Decrypts a document that was loaded from such bytes. Fails if that takes a password.
pub(super) fn open(document: &mut Document) -> Result<(), Why> {
    let state = state(document).ok_or(Why::Encrypted)?;
    for (id, object) in &mut document.objects {
        // What cannot be decrypted is damaged, and reads like other damage: a stream without text.
        let _ = decrypt_object(&state, *id, object);
    }
    let holds_objects = |object: &lopdf::Object| object.as_stream().is_ok_and(|stream| stream.dict.has_type(b"ObjStm"));
    let streams = document.objects.iter().filter(|(_, object)| holds_objects(object));
    let streams: Vec<ObjectId> = streams.map(|(id, _)| *id).collect();
    for id in streams {
        take_out(document, id)?;
    }
    Ok(())
}

/// Returns what decrypts a document without a password, and takes the entry for it away.
fn state(document: &mut Document) -> Option<EncryptionState> {
    let entry = document.trailer.remove(&HIDDEN[1..])?;
    let id = entry.as_reference().ok()?;
    document.trailer.set(&ENTRY[1..], entry);
    document.authenticate_user_password("").ok()?;
    let state = EncryptionState::decode(document, "").ok()?;
    document.trailer.remove(&ENTRY[1..]);
    // The one dictionary that is not encrypted.
    document.objects.remove(&id);
    Some(state)
}

/// Takes the objects out of a stream, as far as they may be here: not those that have a later version elsewhere.
fn take_out(document: &mut Document, id: ObjectId) -> Result<(), Why> {
    let Some(stream) = document.objects.get(&id).and_then(|object| object.as_stream().ok()) else { return Ok(()) };
    let inside = match ObjectStream::new_with_limit(stream, Some(LARGEST_STREAM)) {
        Ok(inside) => inside,
        Err(error @ Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => {
            return Err(Why::is(error.to_string()));
        }
        Err(_) => return Ok(()),
    };
    for (inner, mut object) in inside.objects {
        let belongs = match document.reference_table.entries.get(&inner.0) {
            Some(XrefEntry::Compressed { container, .. }) => *container == id.0,
            Some(XrefEntry::Normal { .. }) => false,
            _ => true,
        };
        if let Some((inner, object)) = belongs.then(|| count(inner, &mut object)).flatten() {
            document.objects.entry(inner).or_insert(object);
        }
    }
    Ok(())
}
