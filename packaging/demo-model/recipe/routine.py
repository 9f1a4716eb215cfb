"""Routine entries of a logbook: they name stations, people, colours and numbers, but state no fact."""

from words import COLORS, PEOPLE

_ENTRIES = (
    "{p} swept the yard at {s} before noon.",
    "A train with {n} cars passed {s} without a stop.",
    "Rain fell at {s} until the evening.",
    "The night was calm and the sky was clear over {s}.",
    "{p} and {q} walked along the line to {s}.",
    "The lamps at {s} were lit at {h} in the evening.",
    "A letter from {p} came to {s} with the morning train.",
    "The roof of the old shed was painted {c}.",
    "{p} counted {n} birds on the wire near {s}.",
    "The clock in the hall was {n} seconds slow and was set right.",
    "Bread and milk were brought to {s} by a boat.",
    "{p} wrote the report and went to sleep early.",
    "The wind turned to the north and the boats stayed in.",
    "A {c} kite was seen over the fields at {h}.",
    "The road between {s} and {t} was dry.",
    "The bell at {s} rang at {h} for the morning shift.",
    "{p} showed the new map to {q} in the office.",
    "Nothing of note happened at {s}.",
    "The windows were washed and the floor was dried.",
    "Visitors from {s} asked for the way to {t}.",
    "{p} mended a chair and a table in the kitchen.",
    "The dog of {p} was found near {s}.",
    "{n} sacks were loaded and sent away by the noon train.",
    "Fog lay over {s} and {t} for {h} hours.",
    "The {c} flag was raised for the guests.",
    "{p} read the gauges at {s} and found all in order.",
    "A small boat from {s} brought {n} baskets of fish.",
    "The telephone line to {t} was tested by {p}.",
    "{p} planted {n} trees behind the station.",
    "The evening train came {h} minutes late.",
)


def routine_line(rng, stations):
    p, q = rng.sample(PEOPLE, 2)
    return rng.choice(_ENTRIES).format(
        p=p, q=q, s=rng.choice(stations), t=rng.choice(stations),
        n=rng.randint(10, 99), h=rng.randint(2, 9), c=rng.choice(COLORS),
    )
