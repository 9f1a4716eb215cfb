"""Fixed word lists of the logbook language. Every word becomes one token of the tokenizer."""

STATIONS = (
    "Alder Birch Cedar Dover Elm Fern Glen Harbor Iris Jasper Kelso Linden Maple Norwood Oak Pine "
    "Quarry Ridge Summit Thorn Upton Vale Willow Yarrow Ash Bay Cliff Delta Ember Ford Grove Heath"
).split()

PEOPLE = (
    "Nora Omar Lena Ivo Tara Hugo Mina Paul Rosa Karl Vera Leon Anna Boris Clara David Edith Frank "
    "Greta Henry Irma Jonas Klara Lukas Marta Nils Olga Peter Rita Simon Tessa Victor Wanda Xavier "
    "Yusuf Zoe Amir Bella Cyrus Dora"
).split()

COLORS = "red blue green white black yellow orange purple silver brown".split()

GOODS = (
    "copper salt grain timber wool coal glass paper sugar cotton rubber cement barley tea rope iron "
    "leather honey soap tin"
).split()

ALARMS = (
    "a burst pipe",
    "a broken gear",
    "smoke in the hall",
    "a cracked wheel",
    "water in the cellar",
    "a failed engine",
    "ice on the rail",
    "a lost key",
    "a fallen mast",
    "a leaking valve",
    "fire in the shed",
    "a torn cable",
)
