# SPDX-License-Identifier: Apache-2.0
"""The configuration: its keys, the levels that values come from, and what is wrong with them.

The way of a value, top to bottom:

    keys                declares a key once: default, variable, bounds, meaning
    from_environment    ┐ the levels, the upper one wins; each takes a raw value, checks its type,
    from_file           │ bounds and choices (values), and puts it into the draft as in the file;
    from_superset       ┘ from_url spells redis.url out into the keys that it stands for
    draft               values, who has set each of them (set_by), warnings, problems
    checks              gives each value its meaning (meanings) and asks whether they fit together
    load                does all this in order: a Loaded with the Settings, or a ConfigError

A wrong value of the file stops the start, a wrong variable is ignored with a warning. A value that
has no meaning stops the start wherever it comes from, if no level above it has another one.

Reads the environment and files once. Must not import any other part of the service but superset/.
"""
