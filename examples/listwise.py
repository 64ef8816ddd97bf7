"""Listwise GRM: the judge reads all eight answers at once, eight times in other orders, and the mean counts.

On a CPU, in less than a minute:
    python examples/listwise.py --tiny

One GPU for the policy, the judge on another:
    vllm serve Qwen/Qwen3-32B                                                       # port 8000
    python examples/listwise.py --judge http://localhost:8000/v1

Eight GPUs for the policy; the judge on two more nodes of eight GPUs, four copies of two GPUs on each:
    vllm serve Qwen/Qwen3-32B --data-parallel-size 4 --tensor-parallel-size 2       # on node1 and on node2
    accelerate launch --num_processes 8 examples/listwise.py --use-vllm \\
        --judge http://node1:8000/v1 http://node2:8000/v1
"""

import argparse

from common import prompts, tiny
from grmrewards import ListwiseReward, OpenAIJudge

NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}  # the critique is its reasoning


def main() -> None:
    """Train all weights of a small policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--judge", nargs="+", default=["http://localhost:8000/v1"], metavar="URL", help="a server, or copies of it")
    add("--judge-model", default="Qwen/Qwen3-32B", help="the judge's name on the server")
    add("--votes", type=int, default=8, help="calls of the judge a prompt")
    add("--model", default="Qwen/Qwen3-0.6B", help="the policy")
    add("--dataset", default="trl-lib/ultrafeedback-prompt", help="on the hub, or a .jsonl file; column: prompt")
    add("--prompts", type=int, default=4000, help="how many of it")
    add("--prompts-a-step", type=int, default=4, help="on each GPU, eight answers each")
    add("--max-completion-length", type=int, default=2048, help="tokens of an answer")
    add("--use-vllm", action="store_true", help="the policy answers by vLLM, in the same process")
    add("--output", default="listwise-output", help="a folder")
    add("--tiny", action="store_true", help="the small models of this package, on a CPU")
    args = parser.parse_args()

    judge = tiny(args) if args.tiny else OpenAIJudge(args.judge_model, base_url=args.judge, extra_body=NO_THINKING)
    reward = ListwiseReward(judge, votes=args.votes, group_size=8)
    dataset = prompts(args)

    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=args.output,
        num_generations=8,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2 * args.prompts_a_step,
        max_completion_length=args.max_completion_length,
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
    trainer = GRPOTrainer(model=args.model, reward_funcs=[reward], args=config, train_dataset=dataset)
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
