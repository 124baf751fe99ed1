"""Ways to break the layer that encodes each distinct content once, keeps embeddings and shares the work out."""

from tests.mutants.mutant import Mutant

ENCODE = "tests/pipeline/encode/test_encode.py"
CACHE = "tests/pipeline/encode/test_embedding_cache.py"
MODEL = "tests/pipeline/encode/test_encode_model.py"
WORKLOAD = "tests/pipeline/encode/test_workload.py"
COMMAND = "tests/launchers/test_cache.py"
RANKS = "tests/pipeline/encode/test_encode_ranks.py"
SLURM = "tests/launchers/test_slurm_eval.py"

MUTANTS = (
    Mutant(
        "embeddings of another model are taken",
        "pipeline/encode/embedding_cache.py",
        '{"encoder": encoder, "format"',
        '{"encoder": "", "format"',
        (ENCODE, CACHE),
    ),
    Mutant(
        "embeddings of other libraries are taken",
        "pipeline/encode/embedding_cache.py",
        "{name: version(name) for name in _LIBRARIES}",
        "{}",
        (CACHE,),
    ),
    Mutant(
        "a picture shown in another size keeps its embedding",
        "pipeline/encode/workload.py",
        "hashlib.sha256(repr(how).encode())",
        "hashlib.sha256()",
        (ENCODE, MODEL),
    ),
    Mutant(
        "another pixel limit embeds every text anew",
        "pipeline/model_origin.py",
        "replace(self.recipe, pixels=PixelLimits(patch=pixels.patch, merge=pixels.merge))",
        "self.recipe if pixels else self.recipe",
        (MODEL,),
    ),
    Mutant(
        "fewer tokens find the embeddings of all",
        "pipeline/inference.py",
        'encoder_fingerprint=f"{count} tokens of {self.encoder_fingerprint}"',
        "encoder_fingerprint=self.encoder_fingerprint",
        (MODEL,),
    ),
    Mutant(
        "a damaged block is believed",
        "pipeline/encode/embedding_cache.py",
        'if f"{file_digest(self.folder / name)}{SUFFIX}" != name]',
        "if not name]",
        (CACHE,),
    ),
    Mutant(
        "what waits to be written goes with an interruption",
        "pipeline/encode/share.py",
        "        finally:\n            self._write()\n",
        "        finally:\n            pass\n",
        (ENCODE,),
    ),
    Mutant(
        "a killed evaluation begins anew",
        "pipeline/encode/share.py",
        "if len(left := batch[~there[batch]])]",
        "if len(left := batch)]",
        ("tests/pipeline/encode/test_encode_kills.py",),
    ),
    Mutant(
        "batches follow what is missing",
        "pipeline/encode/share.py",
        "[left for batch in own if len(left := batch[~there[batch]])]",
        "[batch for batch in own if not there[batch].all()]",
        (ENCODE, CACHE),
    ),
    Mutant(
        "equal contents are embedded twice",
        "pipeline/encode/workload.py",
        "begins[1:] = keys[1:] != keys[:-1]",
        "begins[1:] = True",
        (ENCODE,),
    ),
    Mutant(
        "batches come in the order of their sides",
        "pipeline/encode/workload.py",
        "np.lexsort((self.firsts, self.tokens))",
        "np.argsort(self.firsts)",
        (WORKLOAD,),
    ),
    Mutant(
        "batches of any number of tokens",
        "pipeline/encode/workload.py",
        "if sides and (tokens > room or sides == BATCH_SIDES):",
        "if sides == BATCH_SIDES:",
        (WORKLOAD,),
    ),
    Mutant(
        "a rank keeps its error to itself",
        "pipeline/encode/encode.py",
        "how.ranks.gather((what, share.written, error))",
        "how.ranks.gather((what, share.written, None))",
        (ENCODE,),
    ),
    Mutant(
        "ranks at different sets go on",
        "pipeline/encode/encode.py",
        "            if whose != what:\n",
        "            if False:\n",
        (ENCODE,),
    ),
    Mutant(
        "embeddings that are not finite are kept",
        "pipeline/encode/share.py",
        "check_embeddings(vectors, self.what)",
        "np.asarray(vectors, np.float32)",
        (ENCODE,),
    ),
    Mutant(
        "pictures are decoded in the model's process",
        "pipeline/encode/share.py",
        "workers = min(how.workers, len(batches) - 1)",
        "workers = 0",
        (ENCODE,),
    ),
    Mutant(
        "all vectors stand in memory",
        "pipeline/encode/encode.py",
        "if shape[0] * shape[1] * 4 <= IN_MEMORY_BYTES else",
        "if shape[0] else",
        (ENCODE,),
    ),
    Mutant(
        "what is in use counts as unused",
        "pipeline/encode/embedding_cache.py",
        "        os.utime(self.folder / ENCODER_NAME)  # when it was last asked for\n",
        "",
        ("tests/launchers/test_cache.py::test_using_embeddings_makes_them_young",),
    ),
    Mutant(
        "the youngest embeddings go first",
        "pipeline/encode/cached_encoders.py",
        "idle.append(left.pop())",
        "idle.append(left.pop(0))",
        (COMMAND,),
    ),
    Mutant(
        "every rank looks at every set",
        "eval/ranks.py",
        "wanted[ranks.rank :: ranks.count]",
        "wanted",
        (RANKS,),
    ),
    Mutant(
        "every rank prints the table",
        "eval/ranks.py",
        "    if ranks.is_first:\n        told = tell(folder",
        "    if True:\n        told = tell(folder",
        (RANKS,),
    ),
    Mutant(
        "ranks do the whole work each",
        "pipeline/encode/share.py",
        "ranks.count)[ranks.rank]",
        "1)[0]",
        (ENCODE,),
    ),
    Mutant(
        "an evaluation whose time is up does not come back",
        "launchers/slurm_eval.sh",
        "trap 'must_requeue=yes; echo",
        "trap 'must_requeue=; echo",
        (SLURM,),
    ),
    Mutant(
        "a cancelled evaluation comes back",
        "launchers/slurm_eval.sh",
        "trap 'must_requeue=; kill",
        "trap 'must_requeue=yes; kill",
        (SLURM,),
    ),
    Mutant(
        "a rank takes a GPU that it does not see",
        "launchers/slurm_eval.sh",
        "case ${CUDA_VISIBLE_DEVICES:-,} in *,*) ;; *) LOCAL_RANK=0 ;; esac",
        ":",
        (SLURM,),
    ),
    Mutant(
        "benchmark times embeddings that differ",
        "benchmarks/encode.py",
        "if not difference <= TOLERANCE:",
        "if difference < 0:",
        ("tests/benchmarks/test_encode.py",),
    ),
    Mutant(
        "the estimate counts equal contents twice",
        "eval/estimate.py",
        "lengths, tokens = torch.from_numpy(work.tokens), int(work.tokens.sum())",
        "lengths, tokens = torch.from_numpy(work.tokens[work.rows]), int(work.tokens[work.rows].sum())",
        ("tests/eval/test_estimate.py",),
    ),
    Mutant(
        "the estimate leaves pictures out",
        "eval/estimate.py",
        " + cost.pictures(grids).forward",
        "",
        ("tests/eval/test_estimate.py",),
    ),
    Mutant(
        "hours at the GPU's whole peak",
        "eval/estimate.py",
        "total.flops / (UTILISATION * gpu.peak) / 3600",
        "total.flops / gpu.peak / 3600",
        ("tests/eval/test_estimate.py",),
    ),
    Mutant(
        "evaluation keeps no embeddings",
        "jobs/evaluate.py",
        "retrieval_set.retrieval_sets(data, blank=True, how=how)",
        "retrieval_set.retrieval_sets(data, blank=True)",
        ("tests/jobs/test_evaluate.py::test_embeddings_are_kept_in_the_work_folder_and_serve_other_measurements",),
    ),
)
