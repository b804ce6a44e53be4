"""THE table of fuzz targets: name → what is checked, where the search begins, how long inputs may be.

Rule of the table: one row per parser of bytes that a peer sends or a disk holds. A parser that is new
gets a row here, and its kept inputs a file in `corpus/`.
"""

from __future__ import annotations

from tests.fuzz import messages, records, seeds, stores
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    # --- lines
    "strict-json": Target(records.strict_json, seeds.vectors("numbers.jsonl", "input") + seeds.LINES),
    "log-lines": Target(records.log_lines, seeds.vectors("skill_files.jsonl", "text")),
    "log-settling": Target(records.log_settling, (b"ab\ncd\0\0x\nab\nc", b'{"a":1}\0\0\n{"a"{"kind":1}\n')),
    "skill-event": Target(records.skill_event, seeds.vectors("skill_events.jsonl", "input")),
    "skill-log": Target(records.skill_log, seeds.vectors("skill_files.jsonl", "text")),
    "channel-event": Target(records.channel_event, seeds.vectors("channel_events.jsonl", "input")),
    "channel-log": Target(records.channel_log, seeds.vectors("channel_files.jsonl", "text")),
    "item-line": Target(records.item_line, seeds.LINES),
    "experience": Target(records.experience, seeds.vectors("experience_examples.jsonl")),
    "stats-file": Target(records.stats_file, seeds.vectors("stats_files.jsonl", "input")),
    "stored-text": Target(records.stored_text, (b'{"a":[1,2]}', b"epoch:17")),
    # --- YAML
    "skill-manifest": Target(records.skill_manifest, seeds.YAML),
    "yaml-tree": Target(records.yaml_tree, seeds.YAML),
    "channel-manifest": Target(
        records.channel_manifest, seeds.vectors("channel_manifests.jsonl", "yaml", "json")
    ),
    "profile": Target(records.profile, seeds.PROFILES),
    "profile-splice": Target(records.profile_splice, (b"\0\0".join(seeds.PROFILES[:2]),)),
    "models-file": Target(records.models_file, seeds.MODELS),
    "model-entry": Target(
        records.model_entry, (b"big\0\0provider: x\nsecret: env:K\n", b"x\0\0{secret: CMD:x}")
    ),
    # --- keys, names, times
    "rotation": Target(records.rotation, seeds.vectors("rotations.jsonl", "input")),
    "keyring": Target(records.keyring, seeds.KEYRINGS),
    "rule": Target(records.rule, (b"skills/*\n!skills/deploy\n**/x\0\0agents/a/skills/b/skill.yaml",)),
    "multibase": Target(
        records.multibase_text, (b"z6r2jGDj52hGmGRf6pKeoRiUhrEonq1CLxtXfo6FoT5RR", b"Uaaaa", b"f00")
    ),
    "timestamp": Target(records.timestamp, seeds.vectors("timestamps.jsonl", "input"), 256),
    "path-name": Target(records.path_name, seeds.PATHS, 1024),
    "identified": Target(
        records.identified,
        tuple(b"skills/deploy/skill.yaml\0\0" + body for body in (*seeds.versions(), *seeds.LINES)),
    ),
    # --- what comes over a connection
    "batch": Target(messages.batch, seeds.batches()),
    "frames": Target(messages.frames, seeds.frames(), 1024),
    "message": Target(messages.message, seeds.messages()),
    "version": Target(messages.version, seeds.versions()),
    "answered": Target(messages.answered, seeds.negentropy()),
    "asked": Target(messages.asked, tuple(message[1:] for message in seeds.negentropy())),
    "roster-record": Target(messages.roster_record, seeds.roster()),
    "certificate": Target(messages.certificate, (messages.certified(),), 1100),
    "pairing-begin": Target(messages.pairing_begin, seeds.pairing(), 1100),
    "pairing-answer": Target(messages.pairing_answer, seeds.pairing(), 1100),
    "typed-text": Target(messages.typed_text, seeds.CODES, 256),
    "request": Target(messages.request, seeds.messages() + seeds.batches()),
    # --- what stands on this disk, and a replica as a whole
    "config-file": Target(stores.config_file, seeds.CONFIG),
    "fleet-file": Target(stores.fleet_file, seeds.FLEET),
    "database-file": Target(stores.database_file, (b"\0\0\1\1", bytes(200)), 512),
    "memory-apply": Target(stores.memory_apply, seeds.batches()),
    "replica-apply": Target(stores.replica_apply, seeds.batches()),
}
