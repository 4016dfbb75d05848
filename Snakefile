# The grid (data set x split x seed) over the same notebooks, one `pkd reproduce` a cell. Each cell keeps its own runs
# in the shared run folder, so a grid that was stopped goes on, here or on a cluster (Snakemake's executors):
#   pip install '.[train,book,grid]'
#   snakemake --cores 2 --config profile=full splits=3 seeds=5
#   snakemake --cores 2 --config profile=full splits=3 seeds=5 backbone=teamnet
#   snakemake --cores 2 --config profile=quick dataset=ut_interaction root=path/to/ut_interaction splits=5 seeds=1

PROFILE = config.get("profile", "full")
DATASET = config.get("dataset", "marionette")
BACKBONE = config.get("backbone", "coviar")
SPLITS, SEEDS = int(config.get("splits", 3)), int(config.get("seeds", 5))
OPTIONS = f"--root '{config['root']}'" if "root" in config else ""
if "pattern" in config:
    OPTIONS += f" --pattern '{config['pattern']}'"
DONE = f"runs/grid/{PROFILE}-{BACKBONE}-{DATASET}-{{split}}-{{seed}}.done"


rule all:
    input:
        expand(DONE, split=range(SPLITS), seed=range(SEEDS)),


rule cell:
    output:
        touch(DONE),
    threads: 2
    shell:
        # Training needs notebooks 03, 06 and 08; the pages over the whole grid are drawn once, by a last `pkd reproduce`.
        "pkd reproduce --profile {PROFILE} --backbone {BACKBONE} --dataset {DATASET} {OPTIONS}"
        " --split {wildcards.split} --seed {wildcards.seed} --only 03 06 08"
