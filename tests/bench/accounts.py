"""What happened in the places of the corpus, how it went on, and how it is asked for.

A question says it in other words than the account: hardly one is in both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """Something as it is told, the sentences that follow it, and the same as it is asked for."""

    told: str
    sequel: str
    asked: str


def _account(told: str, *sequel: str, asked: str) -> Account:
    return Account(told, " ".join(f"{sentence}." for sentence in sequel), asked)


FINDERS = (
    "a plumber", "the night watchman", "a retired colonel", "the postman", "two sisters",
    "a travelling salesman", "the sexton", "a chimney sweep", "the tax collector", "a herdsman",
    "the new cook", "a deaf carpenter",
)  # fmt: skip
FOUND = ("discovered", "found", "stumbled upon", "noticed", "uncovered")
FINDS = (
    _account(
        "a nest of hornets",
        "They buzzed fiercely and had to be smoked out before anyone was stung",
        "The swarm had built a grey paper comb and guarded its larvae",
        asked="aggressive flying bugs",
    ),
    _account(
        "a bundle of love letters",
        "The ribbon was faded and each envelope smelled of lavender",
        "Each began with darling, ended with kisses and spoke of longing",
        asked="romantic correspondence",
    ),
    _account(
        "a litter of kittens",
        "They mewed for milk and were given away to families with mice",
        "The mother cat carried them off by the neck, blind and purring",
        asked="newborn cats",
    ),
    _account(
        "a loaded pistol",
        "The trigger was rusty but the bullets were new, and police were called",
        "It went off by mistake when it was unloaded, and a shot hit the wall",
        asked="a firearm",
    ),
    _account(
        "a wooden leg",
        "Its straps and knee joint were intact; a crippled sailor claimed it",
        "The stump it had fitted must have been lost below the knee",
        asked="an artificial limb",
    ),
    _account(
        "a crate of oranges",
        "They were peeled and eaten on the spot, sweet and full of juice",
        "There were lemons too, and their peel scented the air",
        asked="citrus fruit",
    ),
    _account(
        "a child's doll",
        "It had a porcelain head and a frock, and a little girl wept for joy",
        "Its eyes opened and shut, and children quarrelled over who might play with it",
        asked="a toy",
    ),
    _account(
        "a wedding dress",
        "The lace veil and white silk had never been worn to the altar",
        "A fiancée had been jilted in it, gossip said, on the day she was to marry",
        asked="a bridal gown",
    ),
    _account(
        "a violin",
        "The bow was missing, but a fiddler tuned it and played a reel",
        "A luthier put on new strings and dated the varnish to a famous maker",
        asked="a stringed instrument",
    ),
    _account(
        "a human skull",
        "The coroner counted its teeth and had it buried without a name",
        "An anatomist took the bones for those of an old man who had died by an axe",
        asked="the remains of somebody dead",
    ),
    _account(
        "a bottle of brandy",
        "It was uncorked at once and half of those present got drunk",
        "The spirit was French and aged, and the next day many heads ached",
        asked="strong liquor",
    ),
    _account(
        "a pair of spectacles",
        "The lenses were thick, made for a very short-sighted reader",
        "An optician straightened the wire frame and cleaned both lenses for better sight",
        asked="eyeglasses",
    ),
    _account(
        "a chess set",
        "The ivory bishops and pawns were complete but for one rook",
        "Two players sat down to it at once, and one was checkmated in nine moves",
        asked="a board game",
    ),
    _account(
        "a sleeping infant",
        "It was wrapped in a shawl, and a nurse fed it and found its mother",
        "It cried when it woke, was rocked in a cradle and was later baptised",
        asked="a baby",
    ),
    _account(
        "a portrait of a nun",
        "The canvas showed her in veil and rosary, by an unknown artist",
        "Experts dated the oil colours, and a convent hung it in a gilt frame",
        asked="a painting of a religious woman",
    ),
    _account(
        "a forged passport",
        "The stamp and the photograph were false, and a border guard was jailed",
        "The bearer had crossed the frontier under a false identity with it",
        asked="fake travel papers",
    ),
    _account(
        "a gramophone",
        "The needle and horn still worked, and waltzes were heard all evening",
        "With it came a box of discs, scratched songs and one aria",
        asked="a record player",
    ),
    _account(
        "a set of false teeth",
        "Nobody could chew with them, and a dentist put them in his window",
        "The upper plate had slipped from a gum when its owner sneezed",
        asked="dentures",
    ),
    _account(
        "an unsigned will",
        "It left an estate to nephews, and the heirs fought over it for years",
        "A notary read the testament aloud, but the inheritance went to the state",
        asked="a document of inheritance",
    ),
    _account(
        "a live tortoise",
        "It drew in its head, then crept off to eat lettuce",
        "Its age was put at a hundred, and it slept through the cold in a box of leaves",
        asked="a slow reptile with a shell",
    ),
    _account(
        "a diamond ring",
        "The stone sparkled, and a jeweller valued it above the gold",
        "A countess had mislaid the gem with her necklace and offered a reward",
        asked="precious jewellery",
    ),
    _account(
        "a soldier's uniform",
        "The brass buttons and epaulettes belonged to a disbanded regiment",
        "The army took back the tunic, and a deserter was suspected",
        asked="military clothing",
    ),
    _account(
        "a stuffed owl",
        "Its feathers were moth-eaten and one glass eye had fallen out",
        "A taxidermist had mounted it on a branch with its wings and claws spread",
        asked="a preserved bird of prey",
    ),
    _account(
        "a barrel of gunpowder",
        "A single spark would have blown up the street",
        "The fuse was still in it, and everybody fled before it could go off",
        asked="explosives",
    ),
)
WHEREABOUTS = (
    _account(
        "beneath the floorboards",
        "The boards had creaked for years before a carpenter prised them up",
        asked="under the planks that people walk on",
    ),
    _account(
        "in the chimney",
        "Soot fell into the hearth and the flue had to be swept twice",
        asked="where smoke leaves a house",
    ),
    _account(
        "under a mattress",
        "The bed had been stripped of its sheets and blankets that day",
        asked="below some bedding",
    ),
    _account(
        "on the roof",
        "A ladder was needed to climb over the tiles to the ridge",
        asked="at the very top of a building",
    ),
    _account(
        "in the well",
        "The bucket had come up on its rope only half full",
        asked="down a deep water hole",
    ),
    _account(
        "among the potatoes",
        "Carrots and beets were dug over as well, sack after sack",
        asked="between root vegetables",
    ),
    _account(
        "inside a hollow oak",
        "The old tree had lost its bark and most of its branches to lightning",
        asked="within a tree trunk",
    ),
    _account(
        "in a hay cart",
        "The horses had pulled it in from the harvest at dusk",
        asked="aboard a farm wagon",
    ),
    _account(
        "below the bridge",
        "The stream ran low under the arches at that time",
        asked="under a river crossing",
    ),
    _account(
        "in the cellar",
        "It was dark down there, and candles were carried down the steps",
        asked="in an underground storage space",
    ),
    _account(
        "inside a grandfather clock",
        "The pendulum had stopped and the hands stood at noon",
        asked="within a tall timepiece",
    ),
    _account(
        "in the hen house",
        "Eggs had been laid all around, and the cock crowed in alarm",
        asked="where poultry roosts",
    ),
    _account(
        "in a lifeboat",
        "The oars were gone and the crew of the ship had drowned",
        asked="aboard a rescue vessel",
    ),
    _account(
        "behind the altar",
        "The priest was saying mass and the congregation knelt",
        asked="near the holy table of a church",
    ),
    _account(
        "in a coffin",
        "The undertaker lifted the lid an hour before the funeral",
        asked="within a casket for burial",
    ),
    _account(
        "in the greenhouse",
        "Tomatoes and vines grew there in the warmth behind the panes",
        asked="among plants under glass",
    ),
    _account(
        "at the foot of the cliff",
        "Gulls nested on the ledges and stones fell on the beach",
        asked="below a steep rock face",
    ),
    _account(
        "in the laundry basket",
        "Shirts and socks were waiting for soap and the mangle",
        asked="among dirty clothes",
    ),
    _account(
        "in the schoolroom",
        "Lessons stopped, and the teacher wrote it up on the blackboard",
        asked="where pupils were taught",
    ),
    _account(
        "in the blacksmith's forge",
        "The anvil was cold, and horseshoes hung by the bellows",
        asked="at an ironworker's shop",
    ),
    _account(
        "in the pantry",
        "Jars of jam and hams stood on its shelves beside the bread",
        asked="where food was stored",
    ),
    _account(
        "under a pile of coal",
        "A shovel struck it while the boiler was being fired",
        asked="beneath heaped fuel",
    ),
    _account(
        "in the physician's carriage",
        "He had stopped on his round of patients to change horses",
        asked="inside a doctor's coach",
    ),
    _account(
        "at the bottom of the pond",
        "The water had been drained, and carp gasped in the mud",
        asked="submerged in a small lake",
    ),
)
ASKED_OF_FINDS = (
    "Who came across {find} {whereabouts}?",
    "{find} {whereabouts}",
    "Somebody happened on {find} {whereabouts}: who was it?",
)

# Each of these happened in several places, and is asked of one of them by its name.
HAPPENED = (
    _account(
        "the roof of the {noun} at {name} was mended with pennies that schoolchildren collected",
        "Jars were passed round in class, and the slates were bought by the dozen",
        "A plumber and two pupils laid the last tile before the rains came",
        asked="Who paid for repairs above the rooms in {name}?",
    ),
    _account(
        "the {noun} at {name} closed its doors for a month because of cholera",
        "The sick were kept apart and drinking water had to be boiled",
        "A quarantine flag hung from the door and the dead were buried in lime",
        asked="Which epidemic shut down {name} temporarily?",
    ),
    _account(
        "the workers of {name} walked out until they were granted a shorter day",
        "Pickets stood at the entrance and the union fed their families",
        "The employers gave in when eight hours had been sworn to before a magistrate",
        asked="What was the strike in {name} about?",
    ),
    _account(
        "the {noun} at {name} was wired for electric lamps by an uncle of the mayor",
        "Bulbs and switches replaced the candles, and a dynamo hummed outside",
        "The current came from a turbine in the stream, and the gas mains were dug up",
        asked="How did {name} come to have modern lighting?",
    ),
    _account(
        "at {name} a prize hog broke loose and halted all business for an afternoon",
        "It squealed and trampled the flower beds until a butcher tempted it with turnips",
        "The pig was weighed afterwards and was found to be no thinner",
        asked="Which animal escaped in {name}?",
    ),
    _account(
        "the queen stayed at {name} for a single night and left a silver cup",
        "Her carriage drew cheering crowds, and the cup bears the crown and her initials",
        "His royal highness the prince was to have come with the monarch but had a cold",
        asked="What royal gift does {name} own?",
    ),
    _account(
        "the {noun} at {name} lost every archive paper to mice",
        "The rodents had gnawed deeds and ledgers to shreds before anyone saw it",
        "A cat was hired too late, and the history had to be written from memory",
        asked="Why are no old records left in {name}?",
    ),
    _account(
        "at {name} a choir was formed by the staff and sang on feast days",
        "Hymns and carols were rehearsed on Thursdays, basses at the back",
        "A conductor taught them harmony, and tenors were always wanted for the concerts",
        asked="Did employees in {name} make music together?",
    ),
    _account(
        "the director of {name} fled overseas with the cash box",
        "Detectives traced the thief to a steamer, but the money was gone",
        "He had falsified the books for years and gambled the sums away",
        asked="Was there an embezzlement scandal in {name}?",
    ),
    _account(
        "women were admitted to every post at {name} from then on",
        "Wives and daughters applied within a week, some against their husbands' wishes",
        "Equal pay followed, and a lady was put at the head of the office",
        asked="When did female employees get equal jobs in {name}?",
    ),
    _account(
        "at {name} the frost burst all pipes and the floors turned to ice",
        "Snow lay to the windowsills and men skated along the corridors",
        "The thermometer fell to its lowest mark and firewood was rationed",
        asked="What damage did the cold do in {name}?",
    ),
    _account(
        "a novel was set at {name} by an author who had never been there",
        "The heroine dies in the last chapter, and critics praised the plot",
        "Its pages sold in thousands, and readers came to look for the scenes in the story",
        asked="Which fiction takes place in {name}?",
    ),
    _account(
        "the {noun} at {name} took in refugees and fed them through the war",
        "Exiled families slept on straw and shared soup until peace came",
        "Soldiers had driven them from their homes, and beds were made up in every corner",
        asked="How were displaced people helped in {name}?",
    ),
    _account(
        "at {name} the foreman kept bees and sold the honey at the gate",
        "The hives stood in clover, and the combs were emptied in August",
        "Wax candles and mead were made from what was left in the combs",
        asked="Who produced something sweet to eat in {name}?",
    ),
    _account(
        "a comet was seen above {name} and many took it for an omen",
        "Its tail glowed for six nights among the stars",
        "Astronomers gave its name to a crater, and sermons were preached against fear",
        asked="What appeared in the sky over {name}?",
    ),
    _account(
        "the {noun} at {name} was sold at auction to a manufacturer of buttons",
        "The hammer fell after a single bid, and the deeds changed hands at once",
        "The buyer bid by telegraph and painted his initials above the entrance",
        asked="Who became the owner of {name}?",
    ),
)
