// Whether a file is plainly no video, by its first bytes and its type. In doubt it is uploaded: ingest has the last word.

const HEAD = 4096; // bytes that are read
const CHOOSE = "Choose a video file, such as an MP4.";

const has = (head, text, offset = 0) => [...text].every((letter, i) => head[offset + i] === letter.charCodeAt(0));
const repeats = (head, byte, step) => [0, 4].some((start) => [0, 1, 2].every((i) => head[start + i * step] === byte));

// Containers and streams that the engine reads (functions/defacer/engine/media/reader.py, DEMUXERS).
const BOXES = ["ftyp", "moov", "mdat", "wide", "free", "skip", "pnot", "moof", "styp"];
const PICTURE_BRANDS = ["heic", "heix", "heim", "heis", "mif1", "avif"];
const STARTS = [
  "\x1aE\xdf\xa3", // Matroska, WebM
  "FLV", "OggS", "GIF8", "nut/multimedia", "DKIF",
  "\x30\x26\xb2\x75", // ASF, WMV
  "\x06\x0e\x2b\x34", // MXF
  "\x00\x00\x01", "\x00\x00\x00\x01", // MPEG-PS, MPEG video, H.264, HEVC
];

function isContainer(head) {
  if (has(head, "ftyp", 4)) return !PICTURE_BRANDS.some((brand) => has(head, brand, 8));
  if (BOXES.some((box) => has(head, box, 4)) || STARTS.some((start) => has(head, start))) return true;
  if (has(head, "RIFF") && has(head, "AVI", 8)) return true;
  return [188, 192, 204].some((step) => repeats(head, 0x47, step)); // MPEG transport stream
}

// Files that no engine takes for a video, by how they begin.
const OTHERS = [
  ["a picture", "\xff\xd8\xff"], ["a picture", "\x89PNG"], ["a picture", "8BPS"], ["a picture", "II*\0"], ["a picture", "MM\0*"],
  ["a PDF document", "%PDF-"],
  ["an archive or an office document", "PK\x03\x04"], ["an archive", "Rar!"], ["an archive", "7z\xbc\xaf"], ["an archive", "\x1f\x8b\x08"],
  ["a sound file", "ID3"], ["a sound file", "fLaC"],
  ["a program", "\x7fELF"], ["a text file", "\xff\xfe"], ["a text file", "\xfe\xff"], // UTF-16
];

function otherKind(head) {
  const found = OTHERS.find(([, start]) => has(head, start));
  if (found) return found[0];
  if (PICTURE_BRANDS.some((brand) => has(head, brand, 8)) || (has(head, "RIFF") && has(head, "WEBP", 8))) return "a picture";
  return has(head, "RIFF") && has(head, "WAVE", 8) ? "a sound file" : null;
}

// UTF-8 without control characters: every container has some. The last character can be cut off where the head ends.
function isText(head) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: true });
    return !/[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]/.test(text);
  } catch {
    return false;
  }
}

// By what the system says of the name; only where the bytes say nothing. A `.ts` file is text to some systems.
function kindByType(type) {
  if (type.startsWith("image/")) return "a picture";
  if (type.startsWith("audio/")) return "a sound file";
  return type === "application/pdf" ? "a PDF document" : null;
}

// The sentence that says why this file is not uploaded, or null.
export async function problemOf(file) {
  let head;
  try {
    head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  } catch {
    return "This file can't be read. If it is a folder, choose the videos in it.";
  }
  if (!file.size) return `This file is empty. ${CHOOSE}`;
  const kind = isText(head) ? "a text file" : isContainer(head) ? null : otherKind(head) ?? kindByType(file.type);
  return kind && `This is ${kind}, not a video. ${CHOOSE}`;
}
