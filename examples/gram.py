"""GRAM: how probably is an answer better than another, by the probability of one token.

On a CPU, in less than a minute:
    python examples/gram.py --tiny

One GPU for the policy, the judge on another:
    vllm serve Qwen/Qwen3-32B                                                       # port 8000
    python examples/gram.py --judge http://localhost:8000/v1

Eight GPUs for the policy; the judge on two more nodes of eight GPUs, four copies of two GPUs on each:
    vllm serve Qwen/Qwen3-32B --data-parallel-size 4 --tensor-parallel-size 2       # on node1 and on node2
    accelerate launch --num_processes 8 examples/gram.py --use-vllm \\
        --judge http://node1:8000/v1 http://node2:8000/v1

Each answer meets the one in the dataset's column --baseline; with --opponents 4 it meets four others of its group.
"""

import argparse

from common import prompts, tiny
from grmrewards import GRAMReward, OpenAIJudge

NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}  # its first token is A or B


def main() -> None:
    """Train a LoRA adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--judge", nargs="+", default=["http://localhost:8000/v1"], metavar="URL", help="a server, or copies of it")
    add("--judge-model", default="Qwen/Qwen3-32B", help="the judge's name on the server")
    add("--baseline", default="baseline", metavar="COLUMN", help="the dataset's column of answers to beat")
    add("--opponents", type=int, help="no baseline: each answer meets so many others of its group")
    add("--model", default="Qwen/Qwen3-4B-Instruct-2507", help="the policy")
    add("--dataset", default="trl-lib/tldr", help="on the hub, or a .jsonl file; column: prompt")
    add("--prompts", type=int, default=4000, help="how many of it")
    add("--prompts-a-step", type=int, default=4, help="on each GPU, eight answers each")
    add("--max-completion-length", type=int, default=512, help="tokens of an answer")
    add("--use-vllm", action="store_true", help="the policy answers by vLLM, in the same process")
    add("--output", default="gram-output", help="a folder")
    add("--tiny", action="store_true", help="the small models of this package, on a CPU")
    args = parser.parse_args()

    judge = tiny(args) if args.tiny else OpenAIJudge(args.judge_model, base_url=args.judge, extra_body=NO_THINKING)
    dataset = prompts(args)
    if args.opponents:
        reward = GRAMReward(judge, group_size=8, opponents=args.opponents)
    else:
        reward = GRAMReward(judge, group_size=8, baseline_column=args.baseline)  # `completion` is read as `baseline`

    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=args.output,
        num_generations=8,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2 * args.prompts_a_step,
        max_completion_length=args.max_completion_length,
        model_init_kwargs={"dtype": "bfloat16"},
        learning_rate=1e-5,
        num_train_epochs=1,
        use_vllm=args.use_vllm,
        vllm_mode="colocate",
        use_cpu=args.tiny,
        bf16=not args.tiny,
        logging_steps=1,
        save_steps=50,
        report_to="none",
    )
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = GRPOTrainer(model=args.model, reward_funcs=[reward], args=config, train_dataset=dataset, peft_config=lora)
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
