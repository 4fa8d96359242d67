"""The words and sentences of the corpus: written for it, so nobody's text is in it but ours.

Words in braces are filled in: `name` and `noun` are the document's subject, `person`, `thing` and
`room` belong to its trade, the others are the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trade:
    """What one kind of place has to do with."""

    noun: str
    people: tuple[str, ...]
    things: tuple[str, ...]
    rooms: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _trade(noun: str, people: str, things: str, rooms: str) -> Trade:
    return Trade(noun, *(tuple(words.split(", ")) for words in (people, things, rooms)))


TRADES = (
    _trade(
        "observatory",
        "astronomer, lens grinder, night assistant, computer of tables",
        "telescope, sidereal clock, star catalogue, photographic plate, mirror, eclipse table",
        "dome, transit room, dark room, meridian hall",
    ),
    _trade(
        "brewery",
        "brewer, cooper, maltster, drayman",
        "copper kettle, barley, yeast, oak cask, hop sack, mash tun",
        "malting floor, cooling loft, cask yard, tasting room",
    ),
    _trade(
        "harbour",
        "pilot, dock hand, customs officer, dredger captain",
        "crane, tide gauge, mooring rope, breakwater, cargo ledger, buoy",
        "quay, signal station, dry dock, warehouse",
    ),
    _trade(
        "hospital",
        "surgeon, matron, apothecary, ward orderly",
        "stretcher, ether flask, fever chart, iron bed, vaccine, linen bandage",
        "fever ward, dispensary, operating theatre, convalescent garden",
    ),
    _trade(
        "railway",
        "engine driver, signalman, track inspector, ticket clerk",
        "locomotive, sleeper, timetable, turntable, brake van, semaphore",
        "engine shed, goods yard, booking hall, signal box",
    ),
    _trade(
        "theatre",
        "stage manager, prompter, scene painter, leading actress",
        "backdrop, limelight, trapdoor, prompt book, velvet curtain, mask",
        "orchestra pit, gallery, dressing room, scenery loft",
    ),
    _trade(
        "mine",
        "shift foreman, surveyor, winding engineer, rock driller",
        "pit pony, safety lamp, ore cart, ventilation fan, timber prop, drill bit",
        "main shaft, lamp room, sorting shed, lower gallery",
    ),
    _trade(
        "dairy",
        "milkmaid, cheesemaker, cattle breeder, carter",
        "churn, cream separator, rennet, milking stool, cheese press, butter mould",
        "cowshed, curing room, wash house, ice store",
    ),
    _trade(
        "botanical garden",
        "gardener, botanist, seed collector, herbarium keeper",
        "orchid, seed cabinet, fern, grafting knife, pressed flower, irrigation pipe",
        "palm house, rock garden, potting shed, seed room",
    ),
    _trade(
        "printing house",
        "compositor, proofreader, bookbinder, press operator",
        "type case, galley, ink roller, lithographic stone, paper ream, binding thread",
        "composing room, press hall, bindery, paper store",
    ),
    _trade(
        "glassworks",
        "glassblower, furnace keeper, engraver, sand washer",
        "blowpipe, crucible, window pane, annealing oven, goblet, coloured rod",
        "furnace hall, grinding shop, packing room, sand yard",
    ),
    _trade(
        "lighthouse",
        "keeper, lamp trimmer, supply boatman, fog signal attendant",
        "lantern, fog horn, oil tank, prism, logbook, wick",
        "lantern room, spiral stair, oil store, landing stage",
    ),
)

PLACES = tuple(
    start + end
    for end in ("wick", "mere", "ford", "holm", "combe", "stead", "ness", "leigh")
    for start in _words("Har Dun Ost Cal Mer Bran Fen Thor Wex Lin Pel Kes")
)

SURNAMES = _words(
    "Abbot Barlow Carver Dray Ellison Farrow Garrick Hollis Ingram Jessop Kettle Lambert Marlow "
    "Norris Orchard Pruett Quayle Renshaw Sadler Tilden Underhill Varley Weaver Yardley"
)
SYLLABLES = _words(
    "ba dre fin gor hul jas kem lor mun nev ost pri quil rast sev tam ulf vor wen zil"
)
MATERIALS = _words("brick copper granite pine slate oak canvas iron tin leather")
ADJECTIVES = _words(
    "careful costly curious dependable famous generous modest noisy "
    "patient plain reluctant stubborn thorough weathered"
)
SEASONS = ("spring", "summer", "autumn", "winter")
SUMS = _words("pounds shillings guineas crowns")

OPENINGS = (
    "In {year}", "During the {season} of {year}", "According to {surname}", "For many years",
    "After a {adjective} debate", "Before the new road was built", "As a rule", "By all accounts",
    "Towards the end of the decade", "Much later", "In the opinion of the {person}", "At first",
    "When {surname} took charge", "Between two inspections", "On most days",
    "In a {adjective} year", "To the relief of the {person}", "Since the flood of {year}",
)  # fmt: skip
TAILS = (
    "although nobody had planned it", "and the neighbours approved", "to save {number} {sum}",
    "until the {season} of {year}", "because the {thing} needed attention", "as the minutes show",
    "despite the objections of {surname}", "which pleased the {person}", "with {adjective} results",
    "at a cost of {number} {sum}", "while the {room} stood empty", "as visitors still remark",
    "though opinions differ on that", "in the manner of the region", "and so it has remained",
    "under the eye of the {person}", "for reasons of health", "when money allowed",
)  # fmt: skip

TOPICS: tuple[tuple[str, ...], ...] = (
    (  # beginnings
        "the {noun} at {name} was founded by a {person} named {surname}",
        "a plot of {number} acres was bought for the {noun}",
        "the first {thing} arrived by boat from abroad",
        "the town council of {name} granted a charter after long hesitation",
        "the family {surname} gave the {material} for the first walls",
        "the {room} was the only part that had a door",
        "the founders asked each {person} for a small deposit",
    ),
    (  # buildings
        "the {room} was enlarged with {material} beams and a second window",
        "builders covered the {room} with {material} plates",
        "the architect {surname} drew a new front for the {noun}",
        "damp walls were a trouble in the {room} every {season}",
        "the stairs between the {room} and the yard were widened",
        "the masons of {name} demanded higher wages for the {room}",
        "a fence of {material} was put around the whole {noun}",
    ),
    (  # people
        "the {person} trained {number} apprentices in the {room}",
        "{surname} served as {person} for longer than anyone else",
        "the {person} and the {person} shared a house near the {noun}",
        "wages were paid on Saturdays in the {room}",
        "a {adjective} {person} from {name} wrote down the customs of the trade",
        "new staff had to learn how the {thing} was handled",
        "{surname} married the daughter of a {person}",
    ),
    (  # money
        "the accounts of the {noun} showed a loss of {number} {sum}",
        "a loan was taken from the savings bank at {name}",
        "the price of a {thing} rose faster than income",
        "the treasurer {surname} published the budget in a {adjective} pamphlet",
        "subscriptions brought in {number} {sum} a year",
        "taxes on the {thing} were a heavy burden",
        "the insurers refused to cover the {room}",
    ),
    (  # equipment
        "the {thing} was cleaned with spirits and polished with {material} brushes",
        "every {thing} was numbered and entered in a list",
        "a spare {thing} was kept locked in the {room}",
        "the {person} preferred the older {thing} to the newer",
        "{surname} improved the {thing} by means of a {material} frame",
        "at {name} the {thing} is tested twice a month",
        "the makers offered a {thing} on trial",
    ),
    (  # accidents
        "a fire damaged the {room} and destroyed a {thing}",
        "the {person} was injured by a falling {thing}",
        "storm water ran into the {room} for three days",
        "an inquiry under {surname} blamed the {adjective} {person}",
        "the alarm bell of the {noun} was heard all over {name}",
        "a crack was noticed in the {thing}",
        "the {room} had to be propped up with {material} posts",
    ),
    (  # visitors
        "a school party from {name} was shown the {room}",
        "visitors were asked to keep away from the {thing}",
        "the guest book holds {number} names from that year",
        "the {person} gave a lecture on the use of the {thing}",
        "{surname} guided foreign guests through the {noun}",
        "a {adjective} traveller compared the {room} with a chapel",
        "tickets were sold at the gate of the {noun}",
    ),
    (  # trade
        "the {noun} bought {material} from a merchant at {name}",
        "a contract with {surname} secured {number} deliveries",
        "the carriers left each {thing} at the {room}",
        "a rival in the next valley copied the {thing}",
        "orders came in faster than the {person} could answer them",
        "the market at {name} set the price of every {thing}",
        "an agent travelled through the country with a sample {thing}",
    ),
    (  # disputes
        "a quarrel between {surname} and the {person} went to court",
        "the parish of {name} complained of the noise from the {room}",
        "the ownership of the {thing} was never settled",
        "lawyers argued for {number} days over a wall of {material}",
        "the {person} threatened to leave the {noun}",
        "a petition against the new {room} gathered {number} signatures",
        "the judge advised both sides to share the {thing}",
    ),
    (  # learning and outlook
        "the library of the {noun} holds {number} volumes on its trade",
        "{surname} measured how long a {thing} lasts in damp air",
        "the committee plans to restore the {room}",
        "a museum at {name} displays the oldest {thing}",
        "pupils draw the {thing} from memory",
        "engineers advise a new foundation under the {room}",
        "the yearly report of the {person} runs to {number} pages",
    ),
)

# What a record says of a code or of somebody with a rare name, and how it is asked for.
CODED = (
    "the bearing that had worn out was exchanged for part {code}",
    "the drawings of the drain are filed as {code}",
    "an unpaid bill, entered as {code}, was settled at last",
    "the pump carries the serial mark {code} on its base",
    "a permit was issued under the reference {code}",
    "the sample was sealed in a jar and labelled {code}",
)
ASKED_BY_CODE = ("{code}", "What is {code}?", "Where is {code} mentioned?", "Tell me about {code}")
NAMED = (
    "the clock was repaired by {rare}, who asked for no fee",
    "the drawings bear the signature of {rare}",
    "a bequest of {rare} paid for the gas lamps",
)
ASKED_BY_NAME = ("Who was {rare}?", "{rare}", "What did {rare} do?")
