"""IRPM: each answer judged alone, beside a rule for its form, with a record from which a killed run goes on.

On a CPU, in less than a minute:
    python examples/irpm.py --tiny

One GPU for the policy, the judge on another:
    vllm serve Qwen/Qwen3-32B                                                       # port 8000
    python examples/irpm.py --judge http://localhost:8000/v1

Eight GPUs for the policy; the judge on two more nodes of eight GPUs, four copies of two GPUs on each:
    vllm serve Qwen/Qwen3-32B --data-parallel-size 4 --tensor-parallel-size 2       # on node1 and on node2
    accelerate launch --num_processes 8 examples/irpm.py --use-vllm \\
        --judge http://node1:8000/v1 http://node2:8000/v1

After a kill: the same command with --resume. Judgements that are in the record are not paid for again.
"""

import argparse

from common import prompts, tiny
from grmrewards import IRPMReward, OpenAIJudge

NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}  # the critique is its reasoning


def plain_text(completions: list, **kwargs: object) -> list[float]:
    """A rule for the form: 1.0 for an answer of at most 300 words without Markdown."""
    texts = [completion[-1]["content"] for completion in completions]
    return [float(not set("*#`|") & set(text) and len(text.split()) <= 300) for text in texts]


def main() -> None:
    """Train all weights of a small policy on two rewards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--judge", nargs="+", default=["http://localhost:8000/v1"], metavar="URL", help="a server, or copies of it")
    add("--judge-model", default="Qwen/Qwen3-32B", help="the judge's name on the server")
    add("--votes", type=int, default=1, help="judgements an answer")
    add("--resume", action="store_true", help="go on from the last checkpoint in --output")
    add("--model", default="Qwen/Qwen3-0.6B", help="the policy")
    add("--dataset", default="trl-lib/ultrafeedback-prompt", help="on the hub, or a .jsonl file; column: prompt")
    add("--prompts", type=int, default=4000, help="how many of it")
    add("--prompts-a-step", type=int, default=4, help="on each GPU, eight answers each")
    add("--max-completion-length", type=int, default=2048, help="tokens of an answer")
    add("--use-vllm", action="store_true", help="the policy answers by vLLM, in the same process")
    add("--output", default="irpm-output", help="a folder")
    add("--tiny", action="store_true", help="the small models of this package, on a CPU")
    args = parser.parse_args()

    judge = tiny(args) if args.tiny else OpenAIJudge(args.judge_model, base_url=args.judge, extra_body=NO_THINKING)
    record = f"{args.output}/judgements.jsonl"
    reward = IRPMReward(judge, votes=args.votes, group_size=8, log_path=record, replay=True)
    dataset = prompts(args)

    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=args.output,
        num_generations=8,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2 * args.prompts_a_step,
        max_completion_length=args.max_completion_length,
        reward_weights=[1.0, 0.2],  # the judge decides, the form is a nudge
        learning_rate=1e-6,
        num_train_epochs=1,
        use_vllm=args.use_vllm,
        vllm_mode="colocate",
        use_cpu=args.tiny,
        bf16=not args.tiny,
        logging_steps=1,
        save_steps=50,
        report_to="none",
    )
    trainer = GRPOTrainer(model=args.model, reward_funcs=[reward, plain_text], args=config, train_dataset=dataset)
    trainer.train(resume_from_checkpoint=args.resume or None)
    trainer.save_model()


if __name__ == "__main__":
    main()
