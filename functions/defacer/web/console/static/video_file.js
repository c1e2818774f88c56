// Refuse files that are clearly not videos, by their first bytes and their type. Doubtful files are uploaded: ingest decides.

const HEAD_BYTES = 4096; // bytes to read
const CHOOSE = "Choose a video file, such as an MP4.";

const hasText = (head, text, offset = 0) => [...text].every((letter, i) => head[offset + i] === letter.charCodeAt(0));
const repeats = (head, byte, step) => [0, 4].some((start) => [0, 1, 2].every((i) => head[start + i * step] === byte));

// Beginnings of the formats that the engine reads (functions/defacer/engine/media/reader.py, DEMUXERS).
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
  if (hasText(head, "ftyp", 4)) return !PICTURE_BRANDS.some((brand) => hasText(head, brand, 8));
  if (BOXES.some((box) => hasText(head, box, 4)) || STARTS.some((start) => hasText(head, start))) return true;
  if (hasText(head, "RIFF") && hasText(head, "AVI", 8)) return true;
  return [188, 192, 204].some((step) => repeats(head, 0x47, step)); // MPEG transport stream
}

// Beginnings of files that are not videos.
const OTHER_KINDS = [
  ["a picture", "\xff\xd8\xff"], ["a picture", "\x89PNG"], ["a picture", "8BPS"], ["a picture", "II*\0"], ["a picture", "MM\0*"],
  ["a PDF document", "%PDF-"],
  ["an archive or an office document", "PK\x03\x04"], ["an archive", "Rar!"], ["an archive", "7z\xbc\xaf"], ["an archive", "\x1f\x8b\x08"],
  ["a sound file", "ID3"], ["a sound file", "fLaC"],
  ["a program", "\x7fELF"], ["a text file", "\xff\xfe"], ["a text file", "\xfe\xff"], // UTF-16
];

function findOtherKind(head) {
  const match = OTHER_KINDS.find(([, start]) => hasText(head, start));
  if (match) return match[0];
  if (PICTURE_BRANDS.some((brand) => hasText(head, brand, 8)) || (hasText(head, "RIFF") && hasText(head, "WEBP", 8))) return "a picture";
  return hasText(head, "RIFF") && hasText(head, "WAVE", 8) ? "a sound file" : null;
}

// Return whether the head is UTF-8 without control characters, which every container has. Its last character can be incomplete.
function isText(head) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: true });
    return !/[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]/.test(text);
  } catch {
    return false;
  }
}

// Use the operating system's type only if the bytes are inconclusive. Some systems take a `.ts` file for text.
function kindByType(type) {
  if (type.startsWith("image/")) return "a picture";
  if (type.startsWith("audio/")) return "a sound file";
  return type === "application/pdf" ? "a PDF document" : null;
}

// Return why this file can't be uploaded, as a sentence, or null.
export async function findProblem(file) {
  let head;
  try {
    head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  } catch {
    return "This file is not readable. If it is a folder, choose the videos in it.";
  }
  if (!file.size) return `This file is empty. ${CHOOSE}`;
  const kind = isText(head) ? "a text file" : isContainer(head) ? null : findOtherKind(head) ?? kindByType(file.type);
  return kind && `This is ${kind}, not a video. ${CHOOSE}`;
}
