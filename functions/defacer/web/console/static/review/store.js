// The state of the review: the tracks and person groups of review.json, and all changes that are not applied yet.
//
// Events: "change" when tracks, groups or changes differ; "select" when another track is chosen; "seek" (with
// `detail.seconds`) when the player has to go somewhere; "time" when the player is at another time.
//
// A change is a patch: other values for some tracks. The state is the server's with all patches in their order, so each
// change can be undone on its own. Added tracks have negative ids until the server numbers them. An added track with
// `split_from` is the later part of that track.

const STATES = ["unsure", "kept", "hidden"]; // in the order of the cards

// Return the spans of all tracks as few, sorted spans: [[first, last]] in seconds.
export function joinSpans(tracks, gap = 0) {
  const joined = [];
  for (const [first, last] of tracks.flatMap((track) => track.spans).sort((a, b) => a[0] - b[0])) {
    const before = joined.at(-1);
    if (before && first <= before[1] + gap) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return joined;
}

function findMeeting(one, other) {
  for (const [first, last] of one.spans) {
    const met = other.spans.find((span) => span[0] <= last && first <= span[1]);
    if (met) return Math.max(first, met[0]);
  }
  return null;
}

// Return the first two tracks of different groups that are seen at the same time, and when: { tracks, seconds }. Else null.
function findTogether(tracks) {
  const sorted = [...tracks].sort((a, b) => a.start - b.start);
  for (const [number, one] of sorted.entries()) {
    for (const other of sorted.slice(number + 1)) {
      if (other.start > one.end) break;
      if (other.group === one.group) continue;
      const seconds = findMeeting(one, other);
      if (seconds !== null) return { tracks: [one, other], seconds };
    }
  }
  return null;
}

const isDrawn = (track) => track.origin === "manual"; // a mask covers a place, and shows no person

function stateOf(track) {
  if (track.unsure) return "unsure";
  return track.decision === "keep" ? "kept" : "hidden";
}

function stateOfAll(tracks) {
  const states = new Set(tracks.map((track) => track.state));
  return STATES.find((state) => states.has(state));
}

const clipSpans = (spans, from, to) => spans.filter(([first, last]) => last >= from && first <= to).map(([first, last]) => [Math.max(first, from), Math.min(last, to)]);

export function formatClock(seconds) {
  const whole = Math.floor(seconds);
  const rest = String(whole % 60).padStart(2, "0");
  return whole < 3600 ? `${Math.floor(whole / 60)}:${rest}` : `${Math.floor(whole / 3600)}:${String(Math.floor(whole / 60) % 60).padStart(2, "0")}:${rest}`;
}

export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

// Which cards are probably the same person. The report has pairs of tracks, the likeliest first. Pairs that a person
// refused (`different`) are in the next request, so that later reports do not have them.
const MAX_STACK = 12; // cards
class MergeSuggestions {
  different = []; // pairs of the report

  constructor(store, pairs) {
    this.store = store;
    this.pairs = pairs;
  }

  // Return stacks of groups to merge, the likeliest first. No stack has two groups that are seen at the same time.
  list() {
    const stacks = new Map(); // from a group's id to its stack
    const result = [];
    for (const [one, other] of this.pairs) {
      const [a, b] = [one, other].map((id) => this.store.group(this.store.track(id)?.group));
      if (!a || !b || a === b || this.different.some(([first, second]) => first === one && second === other)) continue;
      const [first, second] = [stacks.get(a.id) ?? [a], stacks.get(b.id) ?? [b]];
      if (first === second || first.length + second.length > MAX_STACK || !canMerge([...first, ...second])) continue;
      first.push(...second);
      for (const group of first) stacks.set(group.id, first);
      if (!result.includes(first)) result.push(first);
      if (result.includes(second)) result.splice(result.indexOf(second), 1);
    }
    return result;
  }

  // Suggest these groups no more to be one person with each other.
  refuse(groups, others = groups) {
    const has = (some, id) => some.some((group) => group.tracks.some((track) => track.id === id));
    const refused = this.pairs.filter(([one, other]) => (has(groups, one) && has(others, other)) || (has(groups, other) && has(others, one)));
    this.different = [...this.different, ...refused];
  }
}

function canMerge(groups) {
  const people = new Set(groups.map((group) => group.person).filter(Boolean));
  return people.size < 2 && !groups.some((group) => group.withdrawn) && !findTogether(groups.flatMap((group) => group.tracks));
}

export class ReviewStore extends EventTarget {
  #base = new Map(); // the server's tracks by id, with the decisions of a pending request
  #done = []; // changes: { text, patches: Map(id -> values), added: [track], removed: [id] }
  #undone = [];
  #time = 0;
  #lastAdded = 0;

  constructor(review) {
    super();
    this.video = review.video;
    this.version = review.version;
    this.editable = review.editable;
    this.waiting = review.waiting_until !== null; // nothing is rendered before a person confirms
    this.people = [...review.people]; // the channel's targets
    this.suggestions = new MergeSuggestions(this, review.suggestions ?? []);
    this.selected = null; // the id of the chosen track
    for (const track of review.tracks) this.#base.set(track.id, this.#prepare({ ...track, published: track.decision, decision: track.requested }));
    this.#rebuild();
  }

  get canUndo() { return this.#done.length > 0; }
  get canRedo() { return this.#undone.length > 0; }
  get changes() { return this.#done.map((change) => ({ text: change.text, undo: () => this.#remove(change) })); }
  get currentTime() { return this.#time; }
  set currentTime(seconds) {
    this.#time = seconds;
    this.dispatchEvent(new Event("time"));
  }
  get tracksToShow() { return this.tracks.filter((track) => (this.waiting || track.published === "hide") && track.decision === "keep" && !this.#isReplaced(track)); }

  // The drawn masks of these changes, each with the spans that nothing confirmed yet: [[track, spans]].
  get masksToCheck() { return this.tracks.filter((track) => track.added && isDrawn(track) && track.unconfirmed.length).map((track) => [track, track.unconfirmed]); }

  track(id) { return this.#byId.get(id); }
  group(id) { return this.#groupsById.get(id); }

  // Choose a track, and show it in the player at `seconds`, or else shortly after its start.
  selectTrack(id, seconds = null) {
    this.selected = id;
    this.dispatchEvent(new Event("select"));
    const track = this.track(id);
    if (track) this.seek(seconds ?? track.start + Math.min(0.3, (track.spans[0][1] - track.start) / 2));
  }

  seek(seconds) { this.dispatchEvent(new CustomEvent("seek", { detail: { seconds } })); }

  // A person who withdrew their consent is never kept.
  decide(chosenIds, decision) {
    const trackIds = decision === "keep" ? chosenIds.filter((id) => !this.track(id).withdrawn) : chosenIds;
    const changed = trackIds.filter((id) => this.track(id).decision !== decision || this.track(id).unsure);
    const verb = decision === "hide" ? "Hide" : trackIds.every((id) => isDrawn(this.track(id))) ? "Remove" : "Keep";
    this.#change(`${verb} ${this.#describe(trackIds)}`, this.#patch(changed, { decision, unsure: false, decided: true }));
  }

  // Throws an Error with a sentence if the groups show two people.
  merge(groupIds) {
    const groups = groupIds.map((id) => this.group(id));
    const tracks = groups.flatMap((group) => group.tracks);
    const together = findTogether(tracks);
    if (together) {
      const names = together.tracks.map((track) => this.group(track.group).name);
      throw new Error(`Tracks seen in one frame cannot be merged. ${names.join(" and ")} are both visible at ${formatClock(together.seconds)}.`);
    }
    const into = groups.find((group) => group.person) ?? groups.reduce((a, b) => (b.seconds > a.seconds ? b : a));
    const moved = tracks.filter((track) => track.group !== into.id).map((track) => track.id);
    this.#change(`Merge ${groups.filter((group) => group !== into).map((group) => group.name).join(", ")} into ${into.name}`, this.#patch(moved, { group: into.id, person: into.person }));
  }

  // Make these tracks a person of their own. Tracks that were kept for a person are hidden, because they show another one.
  split(trackIds) {
    const group = 1 + Math.max(-1, ...this.tracks.map((track) => track.group), ...[...this.#base.values()].map((track) => track.group));
    const text = `Split ${count(trackIds.length, "track")} off ${this.group(this.track(trackIds[0]).group).name}`;
    const patches = trackIds.map((id) => [id, { group, person: null, ...(this.track(id).person && { decision: "hide", unsure: false, decided: true }) }]);
    this.#change(text, { patches: new Map(patches) });
    return group;
  }

  // Make the part of a track from this time on a track of its own, and return its id. `detections` are the track's. The
  // part is hidden, because it can show another person. Throws an Error with a sentence if that is impossible.
  splitAt(id, detections, seconds) {
    const track = this.track(id);
    const at = detections.findIndex(([time]) => time >= seconds);
    if (isDrawn(track)) throw new Error("A mask can't be split. Change its range instead.");
    if (at <= 0) throw new Error(`The chosen track has no box ${at ? "after" : "before"} this moment. Go to the moment at which another person appears.`);
    const [own, rest] = [detections.slice(0, at), detections.slice(at)];
    const name = this.group(track.group).name;
    const added = this.#makeAdded({
      origin: track.origin, decision: "hide", reason: `Split off ${name} by you`, withdrawn: track.withdrawn,
      split_from: track.split_from ?? id, detections: rest, spans: clipSpans(track.spans, rest[0][0], track.end),
    });
    added.published = track.published;
    const patches = new Map([[id, { detections: own, spans: clipSpans(track.spans, track.start, own.at(-1)[0]) }]]);
    this.#change(`Split ${name} at ${formatClock(rest[0][0])}`, { added: [added], patches });
    return added.id;
  }

  // Throw an Error with a sentence if the group can't be this person.
  requireName(groupId, person) {
    const group = this.group(groupId);
    if (group.withdrawn) throw new Error("This person withdrew their consent, so nothing of them can be kept.");
    const others = this.groups.filter((other) => other.person === person && other.id !== groupId);
    const together = findTogether([group, ...others].flatMap((one) => one.tracks));
    if (together) throw new Error(`${person} can't be in one frame twice. Tracks of ${group.name} and ${person} are both visible at ${formatClock(together.seconds)}.`);
  }

  // Keep all tracks of the group as this person, together with the tracks that are this person already.
  name(groupId, person) {
    this.requireName(groupId, person);
    const group = this.group(groupId);
    const target = this.groups.find((other) => other.person === person && other.id !== groupId)?.id ?? groupId;
    this.#change(`Keep ${group.name} as ${person}`, this.#patch(group.tracks.map((track) => track.id), { group: target, person, decision: "keep", unsure: false, decided: true }));
    if (!this.people.includes(person)) this.people = [...this.people, person].sort();
  }

  // Add a track: { detections: [[second, x1, y1, x2, y2]], origin, decision, unconfirmed, ... }. Returns its id, below 0.
  addTrack(track) {
    const added = this.#makeAdded({ origin: "manual", decision: "hide", ...track });
    this.#change("Add a mask", { added: [added] });
    return added.id;
  }

  // Add the faces that a new search found, as one change. They are unsure until a person decides.
  addFound(tracks) {
    const added = tracks.map((track) => this.#makeAdded({ ...track, origin: "search", decision: "hide", unsure: true }));
    this.#change(`Hide ${count(added.length, "face")} that a new search found`, { added });
  }

  #makeAdded(track) {
    this.#lastAdded -= 1;
    return { unconfirmed: [], group: this.#lastAdded, ...track, id: this.#lastAdded, added: true, published: "keep" };
  }

  editTrack(tempId, detections, unconfirmed = []) {
    this.#change("Correct a mask", this.#patch([tempId], { detections, unconfirmed }));
  }

  // Put a corrected mask in the place of a rendered one, as one change. Returns the new mask's id.
  replaceMask(id, track) {
    const added = this.#makeAdded({ origin: "manual", decision: "hide", ...track });
    this.#change(`Correct ${this.#describe([id])}`, { added: [added], ...this.#patch([id], { decision: "keep", unsure: false, decided: true, replacement: added.id }) });
    return added.id;
  }

  // Whether a corrected mask covers all of this mask's time.
  #isReplaced(track) {
    const other = this.track(track.replacement);
    return other?.decision === "hide" && other.start <= track.start && other.end >= track.end;
  }

  removeAdded(tempId) { this.#change("Remove a mask", { removed: [tempId] }); }

  undo() { if (this.canUndo) this.#move(this.#done, this.#undone); }
  redo() { if (this.canRedo) this.#move(this.#undone, this.#done); }

  // Return the changes as a value for JSON, and apply them after a reload.
  save() { return { changes: this.#done.map((change) => ({ ...change, patches: [...change.patches] })), different: this.suggestions.different }; }
  restore({ changes: saved, different }) {
    this.suggestions.different = different;
    this.#done = saved.map((change) => ({ ...change, patches: new Map(change.patches) }));
    this.#lastAdded = Math.min(0, ...saved.flatMap((change) => change.added.map((track) => track.id)));
    this.#update();
  }

  // The body of POST edits.
  toEdits() {
    const edits = { decisions: {}, groups: {}, people: {}, added: [], different: this.suggestions.different };
    const numbers = new Map(); // groups of added tracks to numbers that no other group has
    let next = 1 + Math.max(-1, ...this.tracks.map((track) => track.group), ...[...this.#base.values()].map((track) => track.group));
    const numberOf = (group) => {
      if (group >= 0) return group;
      if (!numbers.has(group)) numbers.set(group, next++);
      return numbers.get(group);
    };
    for (const track of this.tracks) {
      const base = this.#base.get(track.id);
      if (!base) {
        edits.added.push(this.#toAdded(track, this.group(track.group).tracks.length > 1 ? numberOf(track.group) : null));
        continue;
      }
      if (track.decided) edits.decisions[track.id] = track.decision;
      if (track.group !== base.group) edits.groups[track.id] = numberOf(track.group);
      if (track.person !== base.person) edits.people[track.id] = track.person;
    }
    return { version: this.version, edits };
  }

  #byId = new Map();
  #groupsById = new Map();

  #toPts(seconds) {
    const [numerator, denominator] = this.video.time_base.split("/").map(Number);
    return this.video.start_pts + Math.round((seconds * denominator) / numerator);
  }

  #toAdded({ origin, decision, detections, unconfirmed, person = null, split_from = null }, group) {
    return {
      origin, decision, group, person, split_from,
      detections: detections.map(([seconds, ...box]) => ({ pts: this.#toPts(seconds), box })),
      unconfirmed: unconfirmed.map((span) => span.map((seconds) => this.#toPts(seconds))),
    };
  }

  #prepare(track) {
    track.unsure = Boolean(track.unsure) && (track.added || track.decision === track.published);
    if (track.detections) track.spans ??= [[track.detections[0][0], track.detections.at(-1)[0]]];
    track.start = track.spans[0][0];
    track.end = track.spans.at(-1)[1];
    track.initial = stateOf(track);
    return track;
  }

  #describe(trackIds) {
    const ids = new Set(trackIds);
    const groups = [...new Set(trackIds.map((id) => this.group(this.track(id).group)))];
    if (groups.length > 2) return count(groups.length, "person").replace("persons", "people");
    return groups.map((group) => {
      const chosen = group.tracks.filter((track) => ids.has(track.id));
      return chosen.length === group.tracks.length ? group.name : `${count(chosen.length, "track")} of ${group.name}`;
    }).join(" and ");
  }

  #patch(trackIds, values) { return { patches: new Map(trackIds.map((id) => [id, values])) }; }

  #change(text, { patches = new Map(), added = [], removed = [] }) {
    if (!patches.size && !added.length && !removed.length) return;
    this.#done.push({ text, patches, added, removed });
    this.#undone = [];
    this.#update();
  }

  #remove(change) {
    this.#done = this.#done.filter((other) => other !== change);
    this.#undone = [];
    this.#update();
  }

  #move(from, to) {
    to.push(from.pop());
    this.#update();
  }

  #update() {
    this.#rebuild();
    if (!this.#byId.has(this.selected)) this.selected = null;
    this.dispatchEvent(new Event("change"));
  }

  #rebuild() {
    const tracks = new Map([...this.#base].map(([id, track]) => [id, { ...track }]));
    for (const change of this.#done) {
      for (const track of change.added) tracks.set(track.id, this.#prepare({ ...track }));
      for (const id of change.removed) tracks.delete(id);
      for (const [id, values] of change.patches) {
        const track = tracks.get(id);
        if (track) Object.assign(track, values.detections && { start: values.detections[0][0], end: values.detections.at(-1)[0], spans: [[values.detections[0][0], values.detections.at(-1)[0]]] }, values);
      }
    }
    this.#byId = tracks;
    this.tracks = [...tracks.values()];
    for (const track of this.tracks) track.state = stateOf(track);
    this.#groupsById = new Map();
    for (const [id, members] of Map.groupBy(this.tracks, (track) => track.group)) this.#groupsById.set(id, this.#makeGroup(id, members));
    this.groups = [...this.#groupsById.values()].sort((a, b) => STATES.indexOf(a.initial) - STATES.indexOf(b.initial) || b.seconds - a.seconds || a.start - b.start);
  }

  // The server's masks come first, and then those of this page.
  #numberMask(group) {
    const groups = [...new Set([...this.#base.values()].filter(isDrawn).map((track) => track.group))];
    return group < 0 ? groups.length - group : groups.includes(group) ? groups.indexOf(group) + 1 : group + 1;
  }

  // A group's place among the cards depends on the server's decisions: a card does not move when its decision changes.
  #makeGroup(id, tracks) {
    tracks.sort((a, b) => a.start - b.start);
    const spans = joinSpans(tracks, 0.5);
    const person = tracks.find((track) => track.person)?.person ?? null;
    const kept = tracks.filter((track) => track.decision === "keep").length;
    const isMask = tracks.every(isDrawn);
    return {
      id, tracks, spans, person, kept, isMask,
      name: person ?? (isMask ? `Mask ${this.#numberMask(id)}` : id < 0 ? `Face ${-id}` : `Person ${id + 1}`),
      isAdded: tracks.every((track) => track.added), // the server can't save a picture of it yet
      withdrawn: tracks.some((track) => track.withdrawn),
      decision: kept === tracks.length ? "keep" : kept ? "mixed" : "hide",
      state: stateOfAll(tracks),
      initial: STATES.find((state) => tracks.some((track) => track.initial === state)),
      seconds: joinSpans(tracks).reduce((sum, [first, last]) => sum + last - first, 0),
      start: spans[0][0], end: spans.at(-1)[1],
      changed: tracks.some((track) => track.added || track.decided || track.group !== this.#base.get(track.id)?.group || track.person !== this.#base.get(track.id)?.person),
    };
  }
}
